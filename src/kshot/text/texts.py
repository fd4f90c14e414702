"""What every text encoder shares: reading texts, token features with offsets, features computed once."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import DataError
from kshot.text.cache import FeatureCache, default_cache

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

_CHUNK = 256


@dataclass(frozen=True)
class Tokens:
    """Features of the tokens of one text.

    Attributes:
        features: [tokens, d].
        offsets: for each token, first character and the one behind its last, in the text as it was given.
    """

    features: Tensor
    offsets: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.offsets)


class TextEncoder(Encoder):
    """Base of text encoders: they take a list of str, or one str, in any script and of any length."""

    modality: ClassVar[str] = "text"

    def read(self, inputs: Any) -> list[str]:
        return read_texts(inputs)

    def from_json(self, value: Any) -> str:
        return self.read([value])[0]

    @abstractmethod
    def tokens(self, texts: Any) -> list[Tokens]:
        """Features of each text's tokens with their places in the text; long texts go through windows."""

    def encode(self, texts: Any) -> Float[Tensor, "n {self.features}"]:
        """Features of texts, without gradients, in chunks of bounded memory.

        >>> import kshot
        >>> kshot.text.encoder("hash:ngram?dim=64").encode(["hello", "good bye"]).shape
        torch.Size([2, 64])
        """
        read, training = self.read(texts), self.training
        self.eval()
        with torch.no_grad():
            parts = [
                self(self.prepare(read[start : start + _CHUNK])) for start in range(0, len(read), _CHUNK)
            ]
        self.train(training)
        return torch.cat(parts) if parts else torch.zeros(0, self.features)


class FrozenText(TextEncoder):
    """Base of text encoders whose weights stay: `prepare` gives the features themselves, from the cache if it can.

    Attributes:
        cache: features on disk, shared by all tasks and processes; None: compute always.
    """

    cache: FeatureCache | None = None

    @abstractmethod
    def compute(self, texts: list[str]) -> Float[Tensor, "n {self.features}"]:
        """Features of texts, float32; not cached."""

    def prepare(self, inputs: list[str]) -> Shaped[Tensor, "n {self.features}"]:
        texts = list(inputs)
        if self.cache is None or not texts:
            return self.compute(texts) if texts else torch.zeros(0, self.features)
        return self.cache.features(self.fingerprint(), texts, self.features, self.compute)

    def forward(self, x: Float[Tensor, "n {self.features}"]) -> Float[Tensor, "n {self.features}"]:
        return x

    def use_default_cache(self) -> None:
        """Keep features in the user's cache folder, unless KSHOT_FEATURE_CACHE is "off"."""
        self.cache = default_cache()


def read_texts(inputs: Any) -> list[str]:
    """Texts as a list of str that can be saved and encoded.

    Raises:
        DataError: no text, an empty one, or one that is no valid Unicode.

    >>> read_texts("one text")
    ['one text']
    """
    if isinstance(inputs, str):
        inputs = [inputs]
    if isinstance(inputs, bytes | os.PathLike | dict | Tensor) or not hasattr(inputs, "__len__"):
        raise DataError(
            f"texts are a {type(inputs).__name__}; give a list of str, for example ['where is my card?']"
        )
    if hasattr(inputs, "columns"):
        raise DataError(
            f"texts are a {type(inputs).__name__} with columns {list(inputs.columns)[:10]}; give the one that holds the "
            "texts, for example table['text']"
        )
    return [_text(item, place) for place, item in enumerate(_items(inputs))]


def _items(inputs: Sequence[Any]) -> list[Any]:
    """The texts of a list, an array, a column of a table or a lazy sequence."""
    if hasattr(inputs, "tolist"):
        return list(inputs.tolist())
    return [inputs[place] for place in range(len(inputs))]


def _text(item: Any, place: int) -> str:
    if not isinstance(item, str):
        raise DataError(
            f"input {place} is a {type(item).__name__} ({str(item)[:40]!r}); a text is a str: convert it, or leave it out"
        )
    if not any(not c.isspace() and c.isprintable() for c in item):
        raise DataError(
            f"input {place} is {item[:20]!r}, a text without a visible character; leave it out, or give what was written"
        )
    try:
        item.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise DataError(
            f"input {place} holds half of a surrogate pair at character {cause.start}; it was cut or decoded wrongly: "
            "decode the bytes as UTF-8 with errors='replace'"
        ) from None
    return str(item)
