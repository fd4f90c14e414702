"""Texts as sequences of units with a place, a shape and features each: what spans are found and named by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import DataError
from kshot.text.hashed import Span
from kshot.text.texts import TextEncoder, read_texts
from kshot.text.units import pooled, units

if TYPE_CHECKING:
    from jaxtyping import Float

_SIGNS = "().,-'\"&@#/:;!?%$*_"
_FLAGS = 18
SHAPE = _FLAGS + len(_SIGNS)
"""Numbers that tell a unit's surface: capitals, digits, length, signs, spaces beside it."""
BEGIN = 2 + SHAPE
"""Column where the features begin; before them stand start, end and shape."""
_SEGMENT, _OVERLAP = 4000, 400
"""Characters of a long text encoded at a time, and what two of them share."""
_MOST = 512
"""Features a unit keeps at most; hashed ones are folded."""


class UnitFeatures(Encoder):
    """Units of texts (see `kshot.text.units`) with the features of any text encoder, which stays as it is.

    A text becomes a tensor [units, 2 + SHAPE + d]: first character, the one behind the last, shape, features (the mean
    of the encoder's tokens that share a character with the unit). A text of any length goes through whole: in
    overlapping segments, and within them in the encoder's own windows. Tensors of this form are taken as they are, so
    that a text has to be encoded only once.

    >>> from kshot.text import encoder
    >>> made = UnitFeatures(encoder("hash:ngram"))
    >>> made(made.prepare(["Ada wrote"]))[0][:, :2].tolist()
    [[0.0, 3.0], [4.0, 9.0]]
    """

    kind: ClassVar[str] = "unit_features"
    modality: ClassVar[str] = "text"
    chunk: ClassVar[int] = 64

    def __init__(self, encoder: TextEncoder | dict[str, Any]) -> None:
        super().__init__()
        if isinstance(encoder, dict):
            from kshot.bundles import make_encoder

            made = make_encoder(encoder)
            assert isinstance(made, TextEncoder)
            encoder = made
        self.encoder = encoder
        self.features = _folded(encoder.features)

    def config(self) -> dict[str, Any]:
        return {"encoder": {"kind": self.encoder.kind, "config": self.encoder.config()}}

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.kind} {self.encoder.fingerprint()}".encode()).hexdigest()

    def read(self, inputs: Any) -> Any:
        if isinstance(inputs, list | tuple) and any(isinstance(item, Tensor) for item in inputs):
            for place, item in enumerate(inputs):
                if not isinstance(item, Tensor) or item.ndim != 2 or item.shape[1] != BEGIN + self.features:
                    raise DataError(
                        f"input {place} is no text, and no tensor [units, {BEGIN + self.features}] of this encoder's either"
                    )
            return list(inputs)
        return read_texts(inputs)

    def from_json(self, value: Any) -> str:
        return read_texts([value])[0]

    def prepare(self, inputs: Sequence[Any]) -> list[Tensor]:
        with torch.no_grad():
            return [item if isinstance(item, Tensor) else self._text(item) for item in inputs]

    def join(self, parts: Sequence[Any]) -> list[Tensor]:
        return [item for part in parts for item in part]

    def profile(self, prepared: Any) -> Float[Tensor, "n 1"]:
        """Nothing: no text is unfamiliar by its coarse statistics."""
        return torch.zeros(len(prepared), 1)

    def forward(self, x: Any) -> list[Tensor]:
        return list(x)

    def _text(self, text: str) -> Float[Tensor, "units columns"]:
        places = units(text)
        parts = [self._segment(text, own, keep) for own, keep in _segments(places)]
        where = torch.tensor(places, dtype=torch.float32).reshape(-1, 2)
        features = torch.cat(parts) if parts else torch.zeros(0, self.features)
        return torch.cat([where, shapes(text, places), features], 1)

    def _segment(self, text: str, own: list[Span], keep: slice) -> Float[Tensor, "units d"]:
        first, last = own[0][0], own[-1][1]
        tokens = self.encoder.tokens([text[first:last]])[0]
        found = pooled(tokens, [(a - first, b - first) for a, b in own], self.encoder.features)
        return _fold(found)[keep]


def _segments(places: list[Span]) -> Iterator[tuple[list[Span], slice]]:
    """Units to be encoded together, and which of them are kept: each from the segment where it is not at the edge."""
    start = done = 0
    while done < len(places):
        end = start + 1
        while end < len(places) and places[end][1] - places[start][0] <= _SEGMENT:
            end += 1
        inner = end
        while (
            end < len(places)
            and inner - 1 > done
            and places[end - 1][1] - places[inner - 1][0] < _OVERLAP // 2
        ):
            inner -= 1
        yield places[start:end], slice(done - start, inner - start)
        done = start = inner
        while start > 0 and places[done - 1][1] - places[start - 1][0] < _OVERLAP // 2:
            start -= 1


def _folded(features: int) -> int:
    return _MOST if features > _MOST and features % _MOST == 0 else features


def _fold(x: Float[Tensor, "units wide"]) -> Float[Tensor, "units d"]:
    """Hashed features of fewer buckets: those a multiple of `_MOST` apart are added."""
    narrow = _folded(x.shape[1])
    return x if narrow == x.shape[1] else x.reshape(len(x), -1, narrow).sum(1)


def shapes(text: str, places: list[Span]) -> Float[Tensor, "units shape"]:
    """What a unit looks like, whatever its letters are."""
    if not places:
        return torch.zeros(0, SHAPE)
    flags = torch.tensor([_flags(text, places, k) for k in range(len(places))], dtype=torch.float32)
    signs = torch.zeros(len(places), len(_SIGNS))
    for k, (a, _) in enumerate(places):
        where = _SIGNS.find(text[a])
        if where >= 0:
            signs[k, where] = 1.0
    return torch.cat([flags, signs], 1)


def _flags(text: str, places: list[Span], k: int) -> tuple[bool, ...]:
    a, b = places[k]
    word, first, size = text[a:b], text[a], b - a
    upper = word.isupper()
    return (
        first.isupper(),
        upper and size > 1,
        first.islower(),
        first.isdigit(),
        first.isalpha() and not (first.isupper() or first.islower()),
        not first.isalnum(),
        not upper and any(c.isupper() for c in word[1:]),
        k == 0,
        k == len(places) - 1,
        k > 0 and places[k - 1][1] == a,
        k + 1 < len(places) and places[k + 1][0] == b,
        size == 1,
        size == 2,
        size == 3,
        4 <= size <= 6,
        7 <= size <= 9,
        size > 9,
        size == 4 and first.isdigit(),
    )
