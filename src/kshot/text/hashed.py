"""Hashed word and character n-grams: an encoder without weights, for any script.

Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask Learning".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.text.texts import FrozenText, Tokens, read_texts

if TYPE_CHECKING:
    from jaxtyping import Float

_WORD = re.compile(r"\w+")
_STEP = np.uint64(0x9E3779B97F4A7C15)
_WORDS_SEED, _CHARACTERS_SEED = np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344)
_MOST = 1 << 18
"""Characters hashed at a time: bounds the memory of long texts and of many texts."""

Span = tuple[int, int]
Grams = tuple[np.ndarray, np.ndarray]
"""Row (which text) and 64-bit hash of each n-gram."""


class HashedNgrams(FrozenText):
    """Counts c of word n-grams and of character n-grams inside words, as 1 + log c, each kind scaled to a length of
    its own, hashed with signs into `dim` numbers; the whole has length 1.

    The same in every process and on every machine. Texts are compared without case, in Unicode's NFKC form. Characters
    of scripts without spaces are n-grams like any others.

    Args:
        words, chars: shortest and longest n-grams, as (1, 2) or "1-2".
        dim: numbers a text becomes.
        balance: share of the words in the squared length.

    Raises:
        SettingError: a range that is none, or a balance outside 0..1.

    >>> encoder = HashedNgrams()
    >>> x = encoder.encode(["where is my card", "where is my card?", "it rains"])
    >>> bool(x[0] @ x[1] > 0.9), bool(x[0] @ x[2] < 0.1)
    (True, True)
    """

    kind: ClassVar[str] = "hash_ngram"

    def __init__(
        self, words: Any = (1, 2), chars: Any = (2, 5), dim: int = 8192, balance: float = 0.35
    ) -> None:
        super().__init__()
        self.words, self.chars = _range("words", words), _range("chars", chars)
        self.features = self.dim = whole("dim", dim, 16)
        try:
            self.balance = float(balance)
        except (TypeError, ValueError):
            self.balance = -1.0
        if not 0 <= self.balance <= 1:
            raise SettingError(f"balance is {balance!r}; it is the share of the words, in 0..1")

    def config(self) -> dict[str, Any]:
        return {
            "words": list(self.words),
            "chars": list(self.chars),
            "dim": self.dim,
            "balance": self.balance,
        }

    def compute(self, texts: list[str]) -> Float[Tensor, "n {self.features}"]:
        return torch.from_numpy(np.concatenate([self._hashed(part) for part in _parts(texts)]))

    def tokens(self, texts: Any) -> list[Tokens]:
        """The words of each text, every one encoded like a text of its own."""
        found = []
        for text in read_texts(texts):
            spans = word_spans(text)
            features = self.compute([text[a:b] for a, b in spans]) if spans else torch.zeros(0, self.dim)
            found.append(Tokens(features, spans))
        return found

    def _hashed(self, texts: list[str]) -> np.ndarray:
        """Features [n, dim] of a few texts."""
        cleaned = [clean(text) for text in texts]
        kinds = []
        for share, grams in (
            (self.balance, _word_grams(cleaned, self.words)),
            (1 - self.balance, _character_grams(cleaned, self.chars)),
        ):
            if share > 0:
                kinds.append(share**0.5 * _summed(*grams, len(texts), self.dim))
        whole_ = np.sum(kinds, 0)
        norms = np.linalg.norm(whole_, axis=1, keepdims=True)
        out: np.ndarray = (whole_ / np.where(norms > 0, norms, 1)).astype(np.float32)
        return out


def clean(text: str) -> str:
    """The form in which texts are compared: NFKC, without case, single spaces, no control characters."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def word_spans(text: str) -> list[Span]:
    """First and last character (and one) of each word, and of each sign that is no part of one.

    A character of a script without spaces (Chinese, Japanese, Thai, ...) is a word of its own.

    >>> word_spans("Hi, 你好")
    [(0, 2), (2, 3), (4, 5), (5, 6)]
    """
    return [(m.start(), m.end()) for m in _PIECE.finditer(text)]


SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+|[^\w\s]")


def _range(name: str, value: Any) -> Span:
    parts = (
        value.split("-") if isinstance(value, str) else list(value) if hasattr(value, "__len__") else [value]
    )
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= 12:
        raise SettingError(
            f"{name} is {value!r}; give the shortest and longest n-gram, 1 to 12, for example 2-5"
        )
    return numbers[0], numbers[1]


def _parts(texts: list[str]) -> Iterator[list[str]]:
    """Texts in groups of bounded length; a long text is a group of its own."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > _MOST:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    yield group


def _mix(h: np.ndarray) -> np.ndarray:
    """A 64-bit finaliser (Stafford's variant of MurmurHash3's): every bit depends on every bit."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = h ^ (h >> np.uint64(31))
    return mixed


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)


def _character_grams(texts: list[str], sizes: Span) -> Grams:
    """Character n-grams that hold no space but at their ends; words are padded with a space."""
    lengths = [len(text) + 2 for text in texts]
    points = _points("".join(f" {text} " for text in texts))
    row = np.repeat(np.arange(len(texts)), lengths)
    space, rows, hashes = points == 32, [], []
    for n in range(sizes[0], sizes[1] + 1):
        count = len(points) - n + 1
        if count < 1:
            continue
        h = np.full(count, _CHARACTERS_SEED + np.uint64(n))
        keep = row[:count] == row[n - 1 :]
        for place in range(n):
            h = _mix(h + points[place : place + count] * _STEP)
            if 0 < place < n - 1 or n == 1:
                keep &= ~space[place : place + count]
        rows.append(row[:count][keep])
        hashes.append(h[keep])
    return _joined(rows, hashes)


def _word_grams(texts: list[str], sizes: Span) -> Grams:
    """n-grams of words; a word's hash is a sum over its characters, each mixed with its place."""
    rows, hashes = [], []
    row, words = _word_hashes(texts)
    for n in range(sizes[0], sizes[1] + 1):
        count = len(words) - n + 1
        if count < 1:
            continue
        h = np.full(count, _WORDS_SEED + np.uint64(n))
        for place in range(n):
            h = _mix(h + words[place : place + count])
        keep = row[:count] == row[n - 1 :]
        rows.append(row[:count][keep])
        hashes.append(h[keep])
    return _joined(rows, hashes)


def _word_hashes(texts: list[str]) -> Grams:
    """Row and hash of every word of all texts, in order."""
    spans = [(row, m.start(), m.end()) for row, text in enumerate(texts) for m in _WORD.finditer(text)]
    if not spans:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    row, first, last = np.array(spans).T
    begins = np.cumsum([0, *map(len, texts)])[:-1]
    lengths = last - first
    starts = np.cumsum(lengths) - lengths
    inside = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    points = _points("".join(texts))[np.repeat(begins[row] + first, lengths) + inside]
    mixed = _mix(points * _STEP + _mix(inside.astype(np.uint64) + _STEP))
    return row, _mix(np.add.reduceat(mixed, starts))


def _joined(rows: list[np.ndarray], hashes: list[np.ndarray]) -> Grams:
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return np.concatenate(rows).astype(np.int64), np.concatenate(hashes)


def _summed(rows: np.ndarray, hashes: np.ndarray, count: int, dim: int) -> np.ndarray:
    """1 + log(count) of each different n-gram, scaled per text to length 1, added up by bucket, [count, dim]."""
    if not len(rows):
        return np.zeros((count, dim))
    order = np.lexsort((hashes, rows))
    rows, hashes = rows[order], hashes[order]
    new = np.concatenate([[True], (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])])
    first = np.flatnonzero(new)
    times = np.diff(np.append(first, len(rows)))
    rows, hashes = rows[first], hashes[first]
    weights = 1 + np.log(times)
    norms = np.sqrt(np.bincount(rows, weights**2, count))
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    places = rows * dim + (hashes % np.uint64(dim)).astype(np.int64)
    values = signs * weights / norms[rows]
    return np.bincount(places, values, count * dim).reshape(count, dim)
