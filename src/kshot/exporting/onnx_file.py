"""An adapted task as an ONNX file, checked against the task before it is written."""

from __future__ import annotations

import json
import threading
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kshot import storage
from kshot.errors import UnsupportedError, need
from kshot.exporting.graph import TaskGraph, reason, traced
from kshot.tasks.spaces import Classes

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

OPSET = 20
"""Version of ONNX's operators."""

_ONE = threading.Lock()
_CLOSE = 1e-4
_ASKED = 16
_LARGEST = 2**31 - 2**20
"""Bytes that one ONNX file can hold."""


def write_onnx(task: Adapted, path: Path, *, inputs: str = "raw") -> Path:
    """Write a task's graph to `path`; nothing is written where ONNX Runtime answers otherwise than the task.

    The file's metadata say under `kshot` what it is: labels, inputs, base, temperature, operators.

    Raises:
        UnsupportedError: no graph can be written, or it differs from the task by more than 1e-4.
        MissingExtraError: the extra `export` is not installed.
    """
    return storage.replace_file(Path(path), onnx_bytes(task, inputs=inputs))


def onnx_bytes(task: Adapted, *, inputs: str = "raw") -> bytes:
    """The bytes of the file that `write_onnx` writes."""
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need(module, "export")
    with _ONE:  # torch.export keeps state of its own per process
        return _written(task, TaskGraph(task, inputs))


def _written(task: Adapted, graph: TaskGraph) -> bytes:
    size = sum(t.numel() * t.element_size() for t in graph.learner.state_dict().values())
    if size > _LARGEST:
        raise UnsupportedError(
            f"the base holds {size} bytes; one ONNX file holds at most {_LARGEST}: choose a smaller base"
        )
    model = _converted(task, graph)
    if isinstance(task.space, Classes):
        _add_labels(model, task.space)
    _describe(model, task, graph)
    blob: bytes = model.SerializeToString()
    _compare(task, graph, blob)
    return blob


def _converted(task: Adapted, graph: TaskGraph) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                traced(task, graph), (), opset_version=OPSET, verbose=False, external_data=False,
                input_names=[i.name for i in graph.inputs], output_names=graph.names, dynamo=True,
            )  # fmt: skip
    except UnsupportedError:
        raise
    except Exception as cause:  # whatever the converter has no operator for
        raise UnsupportedError(
            f"ONNX has no form for {type(task.learner).__name__} on a {task.learner.encoder.kind} encoder "
            f"({reason(cause)}); use kshot.exporting.program, or kshot serve"
        ) from cause
    assert made is not None
    return made.model_proto


def _add_labels(model: Any, space: Classes) -> None:
    """An output `labels`: text, or whole numbers where the labels are such."""
    onnx = need("onnx", "export")
    numbers = all(type(label) is int for label in space.labels)
    kind = onnx.TensorProto.INT64 if numbers else onnx.TensorProto.STRING
    values = list(space.labels) if numbers else [str(label).encode() for label in space.labels]
    graph = model.graph
    graph.initializer.append(onnx.helper.make_tensor("kshot_labels", kind, [space.size], values))
    graph.node.append(onnx.helper.make_node("Gather", ["kshot_labels", "indices"], ["labels"], axis=0))
    shape = [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
    graph.output.insert(0, onnx.helper.make_tensor_value_info("labels", kind, shape))


def _describe(model: Any, task: Adapted, graph: TaskGraph) -> None:
    __version__ = version("kshot")
    about = {
        "kshot": __version__,
        "opset": OPSET,
        "space": task.space.to_json(),
        "base": {"name": task.learner.name, "encoder": task.learner.encoder.fingerprint()},
        "inputs": [
            {"name": i.name, "shape": ["n", *(s or "free" for s in i.shape)], "dtype": str(i.dtype).removeprefix("torch."),
             "meaning": i.meaning}
            for i in graph.inputs
        ],
        "temperature": graph.temperature,
        "unknown_below": graph.threshold if graph.threshold > -1e300 else None,
        "examples": len(task),
    }  # fmt: skip
    need("onnx", "export").helper.set_model_props(model, {"kshot": json.dumps(about)})
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # where on this machine the tracer stood is nobody's business
    model.producer_name, model.producer_version, model.doc_string = (
        "kshot",
        __version__,
        "A task taught by example.",
    )


def _embedded(task: Adapted, graph: TaskGraph) -> Any:
    """What the task makes of the examples that the graph is asked; kept features may be rounded (see `serving`)."""
    if not graph.raw:
        return task.embedded[:_ASKED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever taught the task has heard what is odd about its examples
        return task.embed(task.inputs[:_ASKED])


def _compare(task: Adapted, graph: TaskGraph, blob: bytes) -> None:
    """Ask the task's own examples of ONNX Runtime and of the task."""
    runtime = need("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    given = graph.given(task, _ASKED)
    try:
        session = runtime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        found = session.run(
            graph.names, {i.name: x.numpy(force=True) for i, x in zip(graph.inputs, given, strict=True)}
        )
    except Exception as cause:  # the library's own errors have no common base
        raise UnsupportedError(
            f"ONNX Runtime cannot run this task ({reason(cause)}); use kshot serve"
        ) from cause
    answer = task.answer_embedded(_embedded(task, graph))
    wanted = answer.probabilities if isinstance(task.space, Classes) else answer.values
    ours = found[graph.names.index("probabilities" if isinstance(task.space, Classes) else "values")]
    scale = 1.0 if isinstance(task.space, Classes) else max(float(np.abs(wanted).max()), 1.0)
    off = float(np.abs(ours - wanted).max()) / scale
    if not off <= _CLOSE:
        raise UnsupportedError(
            f"the graph answers otherwise than the task, by {off:.2g} (at most {_CLOSE}); use kshot serve"
        )
