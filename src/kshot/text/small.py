"""A small text encoder to be trained: hashed embeddings of words, and convolutions over them; any language.

Hashed parts of words as in Honnibal and Montani's spaCy (Miranda et al. 2022, "Multi hash embeddings in spaCy");
gated convolutions as in Dauphin et al. (2017), "Language Modeling with Gated Convolutional Networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.text.hashed import Span, _mix, _points, word_spans
from kshot.text.texts import TextEncoder, Tokens, read_texts

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

_PARTS = 4
"""Hashes of a word: itself, its first three and its last three characters, and its shape."""
_WINDOW = 512
"""Words seen at a time; longer texts are cut into windows whose features are averaged."""


class SmallText(TextEncoder):
    """About a million numbers, trained by you (`kshot.fit`): texts to features [n, width] of length 1.

    Args:
        width: numbers a text becomes. buckets: rows of the table of embeddings, 2 to 32,000. layers: convolutions.

    >>> encoder = SmallText()
    >>> encoder.encode(["where is my card?", "wo ist meine Karte?"]).shape
    torch.Size([2, 128])
    >>> sum(p.numel() for p in encoder.parameters()) < 1_100_000
    True
    """

    kind: ClassVar[str] = "text_small"

    def __init__(self, width: int = 128, buckets: int = 5000, layers: int = 4) -> None:
        super().__init__()
        self.features = self.width = whole("width", width, 2)
        self.buckets, depth = whole("buckets", buckets, 2), whole("layers", layers, 0)
        if self.buckets > 32_000:
            raise SettingError(f"buckets is {buckets}; at most 32,000 rows are addressed")
        self.table = nn.Embedding(self.buckets + 1, self.width, padding_idx=0)
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Conv1d(self.width, 2 * self.width, 3, padding=1) for _ in range(depth))
        self.last = nn.LayerNorm(self.width)

    def config(self) -> dict[str, Any]:
        return {"width": self.width, "buckets": self.buckets, "layers": len(self.layers)}

    def prepare(self, inputs: list[str]) -> Shaped[Tensor, "n t parts"]:
        """Bucket of each part of each word, 1 and up; 0 behind a text's end."""
        rows = [self._buckets(text, word_spans(text)) for text in inputs]
        longest = max([len(row) for row in rows], default=1)
        out = torch.zeros(len(rows), max(longest, 1), _PARTS, dtype=torch.int16)
        for place, row in enumerate(rows):
            out[place, : len(row)] = torch.from_numpy(row)
        return out

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Prepared texts of several sets in one; shorter ones are padded."""
        longest = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])

    def profile(self, prepared: Shaped[Tensor, "n t parts"]) -> Float[Tensor, "n 1"]:
        """Logarithm of the number of words."""
        return (1 + (prepared[..., 0] > 0).sum(1, keepdim=True).float()).log()

    def forward(self, x: Shaped[Tensor, "n t parts"]) -> Float[Tensor, "n {self.features}"]:
        if x.shape[1] <= _WINDOW:
            return F.normalize(_mean(*self._states(x)), dim=1)
        return torch.cat([self._long(row) for row in x])

    def _long(self, row: Shaped[Tensor, "t parts"]) -> Float[Tensor, "1 {self.features}"]:
        """One text in windows, without its padding."""
        own = row[: max(int((row[:, 0] > 0).sum()), 1)]
        means = [_mean(*self._states(own[None, s : s + _WINDOW])) for s in range(0, len(own), _WINDOW)]
        return F.normalize(torch.cat(means).mean(0, keepdim=True), dim=1)

    def _states(self, x: Shaped[Tensor, "n t parts"]) -> tuple[Tensor, Tensor]:
        """State of each word, [n, t, width], and where there is one, [n, t, 1]."""
        x = x.to(self.table.weight.device).long()
        there = (x[..., :1] > 0).to(self.table.weight.dtype)
        states = self.table(x).sum(2) * there
        for norm, layer in zip(self.norms, self.layers, strict=True):
            new = F.glu(layer((norm(states) * there).transpose(1, 2)), 1).transpose(1, 2)
            states = (states + new) * there
        return self.last(states) * there, there

    def tokens(self, texts: Any) -> list[Tokens]:
        found = []
        for text in read_texts(texts):
            spans = word_spans(text)
            x = self.prepare([text])[:, : len(spans)]
            with torch.no_grad():
                parts = [self._states(x[:, s : s + _WINDOW])[0][0] for s in range(0, len(spans), _WINDOW)]
            features = torch.cat(parts) if parts else torch.zeros(0, self.width)
            found.append(Tokens(features, spans))
        return found

    def _buckets(self, text: str, spans: list[Span]) -> np.ndarray:
        """[words, parts]"""
        words = [text[a:b].casefold() for a, b in spans]
        rows = [
            [_hash(word), _hash(f"{word[:3]}<"), _hash(f">{word[-3:]}"), _hash(_shape(text[a:b]))]
            for word, (a, b) in zip(words, spans, strict=True)
        ]
        if not rows:
            return np.zeros((0, _PARTS), np.int16)
        mixed = _mix(np.array(rows, np.uint64) + np.arange(_PARTS, dtype=np.uint64))
        return (1 + mixed % np.uint64(self.buckets)).astype(np.int16)


def _mean(states: Tensor, there: Tensor) -> Tensor:
    return states.sum(1) / there.sum(1).clamp(min=1)


def _hash(word: str) -> int:
    """64 bits that are the same in every process, unlike Python's own hash."""
    points = _points(word)
    places = np.arange(1, len(points) + 1, dtype=np.uint64)
    return int(_mix(np.bitwise_xor.reduce(_mix(points + _mix(places)), keepdims=True))[0])


def _shape(word: str) -> str:
    """Capitals, digits and the like of a word's first characters: "Bonn" is "Xxxx", "42" is "dd"."""
    return "".join(
        "d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word[:6]
    )
