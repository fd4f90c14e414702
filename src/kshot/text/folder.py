"""Text models in a folder: config.json, tokenizer.json and model.safetensors, as sentence encoders are published."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.encoder import GraphInput
from kshot.encoders.sizes import whole
from kshot.errors import DataError, SettingError, UnsupportedError, need
from kshot.text.bert import Bert, load_weights
from kshot.text.low_rank import LowRank
from kshot.text.places import find
from kshot.text.windows import WindowedText, pool

if TYPE_CHECKING:
    from jaxtyping import Float, Int

POOLINGS = ("mean", "cls", "max")


class TextModel(WindowedText):
    """A published text model, frozen: texts to features [n, width] of length 1.

    Saved tasks name it by source and SHA-256; its weights are not copied into them.

    Args:
        source: `path:DIR`, `hf:REPO[@REVISION]`, `st:NAME` or `pkg:NAME`; nothing is downloaded here.
        weights: SHA-256 that the weights must have; None: whatever is there.
        length: tokens in a window; by default the model's own. pooling: mean, cls or max; by default the model's own.
        prompt: put before every text, for models that were trained so.
        rank, blocks: room for low-rank changes of the last blocks, which `kshot.text.tune` learns; 0: none.

    Raises:
        DataError: not there, damaged, or other weights. UnsupportedError: a family that is not built in.
        MissingExtraError: tokenizers is not installed.
    """

    kind: ClassVar[str] = "text_model"

    def __init__(
        self,
        source: str,
        weights: str | None = None,
        length: int | None = None,
        pooling: str | None = None,
        prompt: str = "",
        rank: int = 0,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.source, self.prompt = source, str(prompt)
        folder = find(source)
        config = read_json(folder / "config.json")
        self.weights = checked(folder / "model.safetensors", weights, source)
        with torch.device("meta"):  # no numbers are drawn that are overwritten at once
            network = Bert(config)
        load_weights(network, _tensors(folder / "model.safetensors"), source)
        self._network = [network.eval().requires_grad_(False)]  # in a list: its weights are named, not saved
        self.tokenizer, self.words = tokenizer_of(folder)
        self.features = network.width
        own = own_settings(folder)
        self.pooling = one_of_poolings(pooling or own.get("pooling", "mean"))
        self.length = whole("length", length or min(int(own.get("length", 512)), network.longest), 8)
        if self.length > network.longest:
            raise SettingError(
                f"length is {length}; {source} sees at most {network.longest} tokens at a time"
            )
        self.rank, self.blocks = whole("rank", rank, 0), whole("blocks", blocks, 0)
        if self.blocks > len(network.layers) or bool(self.rank) != bool(self.blocks):
            raise SettingError(
                f"rank is {rank} and blocks {blocks}; give both or neither, with at most {len(network.layers)} blocks"
            )
        self.changes = LowRank(list(network.layers)[len(network.layers) - self.blocks :], self.rank)

    @property
    def network(self) -> Bert:
        """The network itself."""
        return self._network[0]

    def config(self) -> dict[str, Any]:
        room = {"rank": self.rank, "blocks": self.blocks} if self.rank else {}
        return {"source": self.source, **super().config(), **room}

    def graph_inputs(self) -> list[GraphInput]:
        rule = f"of the tokenizer beside the weights ({self.source}), at most {self.length} with special ones"
        return [
            GraphInput("input_ids", (None,), torch.long, f"token ids {rule}, padded at the end"),
            GraphInput("attention_mask", (None,), torch.long, "1 where a token is, 0 where padding is"),
        ]

    def from_graph(self, *inputs: Tensor) -> Tensor:
        ids, mask = inputs
        return F.normalize(pool(self.hidden(ids, mask).float(), mask, self.pooling), dim=1)

    def to_graph(self, read: Any) -> list[Tensor]:
        windows = [self.windows(text)[0] for text in read]
        long = next((text for text, own in zip(read, windows, strict=True) if len(own) > 1), None)
        if long is not None:
            raise UnsupportedError(
                f"{long[:40]!r}... is longer than the {self.length} tokens that a graph sees at once; kshot takes windows "
                "of it and their mean: use shorter texts, or ask kshot"
            )
        longest = max(len(own[0]) for own in windows)
        ids, mask = torch.zeros(2, len(read), longest, dtype=torch.long)
        for row, (own,) in enumerate(windows):
            ids[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
        return [ids, mask]

    def hidden(
        self, ids: Int[Tensor, "n t"], mask: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n t {self.features}"]:
        return self.upper(self.lower(ids, mask), mask)

    def lower(
        self, ids: Int[Tensor, "n t"], mask: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n t {self.features}"]:
        """Hidden states before the last blocks; tuning does not change them."""
        network = self.network
        x, bias = network.embed(ids), network.bias(mask, network.norm.weight.dtype)
        for layer in list(network.layers)[: len(network.layers) - self.blocks]:
            x = layer(x, bias)
        return x

    def upper(
        self, x: Float[Tensor, "n t {self.features}"], mask: Int[Tensor, "n t"]
    ) -> Float[Tensor, "n t {self.features}"]:
        """Hidden states behind the last blocks, with their low-rank changes."""
        bias = self.network.bias(mask, x.dtype)
        for place, layer in enumerate(list(self.network.layers)[len(self.network.layers) - self.blocks :]):
            x = self.changes(place, layer, x, bias)
        return x


def checked(file: Path, wanted: str | None, source: str) -> str:
    """SHA-256 of a file of weights. Raises DataError where it is not there, or not the one wanted."""
    if not file.is_file():
        raise DataError(
            f"{file} is not there; a text model's folder holds config.json, tokenizer.json and model.safetensors: "
            "convert older .bin weights to safetensors, or use 'hash:ngram', which needs no weights"
        )
    status = file.stat()
    found = _sha256(str(file), status.st_size, status.st_mtime_ns)
    if wanted and found != wanted:
        raise DataError(
            f"{source}: the weights have SHA-256 {found[:12]}..., not {wanted[:12]}...; they are others than those asked "
            "for: get the right ones again"
        )
    return found


@lru_cache(maxsize=32)
def _sha256(file: str, size: int, changed: int) -> str:
    """Hash of a file that has this size and time of change; read once per process."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def tokenizer_of(folder: Path) -> tuple[Any, str]:
    """The tokenizer of a folder, never cutting or padding, and the SHA-256 of its file."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise DataError(f"{file} is not there; save the model's fast tokenizer beside its weights")
    made = need("tokenizers", "text").Tokenizer
    data = file.read_bytes()
    try:
        found = made.from_str(data.decode())
    except Exception as cause:  # the library raises bare Exception
        raise DataError(f"{file} is no tokenizer ({cause}); fetch the folder again") from None
    found.no_truncation()
    found.no_padding()
    return found, hashlib.sha256(data).hexdigest()


def own_settings(folder: Path) -> dict[str, Any]:
    """Pooling and window of a sentence encoder's folder, where it says."""
    found: dict[str, Any] = {}
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        said = read_json(pooling)
        modes = {
            "mean": "pooling_mode_mean_tokens",
            "cls": "pooling_mode_cls_token",
            "max": "pooling_mode_max_tokens",
        }
        chosen = [name for name, key in modes.items() if said.get(key)]
        if len(chosen) != 1:
            raise UnsupportedError(
                f"{pooling} asks for {chosen or 'another pooling'}; choose one with ?pooling=mean"
            )
        found["pooling"] = chosen[0]
    if any(folder.glob("*_Dense")):
        raise UnsupportedError(
            f"{folder} has a dense layer behind its pooling; export it to ONNX and use onnx:FILE"
        )
    sentence = folder / "sentence_bert_config.json"
    if sentence.is_file() and read_json(sentence).get("max_seq_length"):
        found["length"] = read_json(sentence)["max_seq_length"]
    return found


def one_of_poolings(name: str) -> str:
    """The name itself. Raises SettingError where there is no such pooling."""
    if name not in POOLINGS:
        raise SettingError(f"pooling is {name!r}; choose one of {', '.join(POOLINGS)}")
    return name


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises DataError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file} is not there; a text model's folder holds it: check the path") from None
    except (OSError, ValueError) as cause:
        raise DataError(f"{file} is no JSON ({cause}); fetch the folder again") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} holds a {type(found).__name__}, not an object; fetch the folder again")
    return found


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as cause:
        raise DataError(f"{file} is no whole safetensors file ({cause}); fetch it again") from None
    return found
