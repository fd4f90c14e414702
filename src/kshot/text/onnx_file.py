"""Text models as ONNX files, with the tokenizer.json beside them: for families that are not built in, and for speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from kshot.encoders.sizes import whole
from kshot.errors import DataError, need
from kshot.text.folder import checked, one_of_poolings, own_settings, tokenizer_of
from kshot.text.windows import WindowedText

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


class OnnxText(WindowedText):
    """A text model in an ONNX file, with inputs `input_ids` and `attention_mask` and hidden states [n, t, d] (or
    ready features [n, d]) as its first output.

    Args:
        file: the .onnx file; tokenizer.json lies beside it.
        weights, length, pooling, prompt: as for `TextModel`.

    Raises:
        DataError: not there, damaged, or other weights. MissingExtraError: onnxruntime or tokenizers is missing.
    """

    kind: ClassVar[str] = "text_onnx"

    def __init__(
        self,
        file: str,
        weights: str | None = None,
        length: int | None = None,
        pooling: str | None = None,
        prompt: str = "",
    ) -> None:
        super().__init__()
        path = Path(file).expanduser()
        if not path.is_file():
            raise DataError(f"{file} does not exist; give the .onnx file, with tokenizer.json beside it")
        self.file, self.prompt = str(file), str(prompt)
        self.weights = checked(path, weights, file)
        self._session = [_session(path)]
        self.inputs = [one.name for one in self._session[0].get_inputs()]
        if "input_ids" not in self.inputs or not set(self.inputs) <= set(_KNOWN):
            raise DataError(
                f"{file} takes {self.inputs}; a text model takes input_ids and attention_mask: export it so"
            )
        self.tokenizer, self.words = tokenizer_of(path.parent)
        own = own_settings(path.parent)
        self.pooling = one_of_poolings(pooling or own.get("pooling", "mean"))
        self.length = whole("length", length or own.get("length", 512), 8)
        few = torch.ones(1, 3, dtype=torch.long)
        self.features = self.hidden(few, few).shape[2]

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxText:
        return OnnxText(**self.config())  # a session cannot be copied

    def config(self) -> dict[str, Any]:
        return {"file": self.file, **super().config()}

    def hidden(self, ids: Int[Tensor, "n t"], mask: Int[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        places = torch.arange(ids.shape[1]).expand_as(ids)
        given = {
            "input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids), "position_ids": places,
        }  # fmt: skip
        out = self._session[0].run(None, {name: given[name].contiguous().numpy() for name in self.inputs})[0]
        states = torch.from_numpy(out)
        # ready features: the same for every token, so that any pooling gives them back
        return states if states.ndim == 3 else states[:, None].expand(-1, ids.shape[1], -1)


def _session(path: Path) -> Any:
    runtime = need("onnxruntime", "text")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # the library's own errors have no common base
        why = str(cause).splitlines()[0]
        raise DataError(f"{path} is no ONNX model that can be run ({why}); export it again") from None
