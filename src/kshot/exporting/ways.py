"""Other ways to run an encoder's network on a processor: folded batch norms, ONNX Runtime, eight bits."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kshot.encoders import Encoder
from kshot.errors import UnsupportedError, need
from kshot.exporting.onnx_file import OPSET

Call = Callable[..., Tensor]
"""What stands in for `Encoder.run`."""


def folded(encoder: Encoder, inputs: Sequence[Tensor]) -> Call:
    """Batch norms folded into the convolutions before them, weights and images with channels last."""
    own = copy.deepcopy(encoder)
    pairs = _norms_after(own, inputs)
    if not pairs:
        raise UnsupportedError(f"{encoder.kind} has no batch norm behind a convolution to fold")
    with torch.no_grad():
        for convolution, norm in pairs:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            made = fuse_conv_bn_weights(convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                                        norm.eps, norm.weight, norm.bias)  # fmt: skip
            convolution.weight, convolution.bias = made
    for parent in list(own.modules()):
        for name, part in parent.named_children():
            if any(part is norm for _, norm in pairs):
                setattr(parent, name, nn.Identity())
    for module in own.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)

    def call(x: Tensor) -> Tensor:
        out: Tensor = own.run(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x)
        return out

    return call


def _norms_after(network: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that take their outputs, seen by running the network once.

    Who else takes such an output is not seen; the comparison of features afterwards would show it.
    """
    outputs: list[tuple[Tensor, nn.Conv2d]] = []  # kept, so that no other tensor is taken for one of them
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def leaving(module: nn.Module, _: Any, out: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        outputs.append((out, module))

    def entering(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        pairs.extend((convolution, module) for out, convolution in outputs if out is given[0])

    hooks = [
        part.register_forward_hook(leaving)
        if isinstance(part, nn.Conv2d)
        else part.register_forward_pre_hook(entering)
        for part in network.modules()
        if isinstance(part, nn.Conv2d) or (isinstance(part, nn.BatchNorm2d) and part.running_mean is not None)
    ]
    network.run(*(x[:1] for x in inputs))  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    return pairs


class _Run(nn.Module):
    """The part of an encoder that `Runner` replaces, as a module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = self.encoder.run(*inputs)
        return out


def onnx(encoder: Encoder, inputs: Sequence[Tensor]) -> Call:
    return _session(_graph(encoder, inputs), inputs)


def int8(encoder: Encoder, inputs: Sequence[Tensor]) -> Call:
    """Linear layers in eight bits, the scale of activations taken from each input anew."""
    quantization = need("onnxruntime.quantization", "export")
    with TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        whole.write_bytes(_graph(encoder, inputs))
        quantization.quantize_dynamic(
            whole, small, weight_type=quantization.QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"]
        )
        return _session(small.read_bytes(), inputs)


def _graph(encoder: Encoder, inputs: Sequence[Tensor]) -> bytes:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need(module, "export")
    names = [f"x{place}" for place in range(len(inputs))]
    free = {axis: torch.export.Dim.DYNAMIC for axis in encoder.run_free}
    given = tuple(torch.cat([x, x])[: max(2, len(x))].clone() for x in inputs)  # one is no free number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = _Run(encoder).eval()
        program = torch.export.export(
            network, given, dynamic_shapes=(tuple(free for _ in given),), strict=False
        )
        made = torch.onnx.export(program, (), opset_version=OPSET, verbose=False, external_data=False,
                                 input_names=names, output_names=["y"], dynamo=True)  # fmt: skip
    assert made is not None
    blob: bytes = made.model_proto.SerializeToString()
    return blob


def _session(blob: bytes, inputs: Sequence[Tensor]) -> Call:
    runtime = need("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = runtime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def call(*given: Tensor) -> Tensor:
        fed = {name: x.detach().numpy() for name, x in zip(names, given, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return call


MAKERS: dict[str, Callable[[Encoder, Sequence[Tensor]], Call]] = {
    "folded": folded,
    "onnx": onnx,
    "int8": int8,
}
