"""Texts of any length through a network that sees a bounded number of tokens: overlapping windows, never a cut."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.encoder import tensor_bytes
from kshot.text.texts import FrozenText, Tokens, read_texts

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_BATCH = 8192
"""Tokens in a batch, padding included."""

Spans = list[tuple[int, int]]


class WindowedText(FrozenText):
    """Base of encoders that look at windows of tokens: a tokenizer, and a network from ids to hidden states.

    A text longer than a window becomes windows that overlap by a quarter; its features are the mean of the windows'
    features, and a token's are taken from the window where it stands furthest from the edge.

    Attributes:
        weights, words: SHA-256 of the network's file and of the vocabulary.
        length: tokens in a window, special ones included. pooling: mean, cls or max. prompt: put before each text.
    """

    run_free: ClassVar[tuple[int, ...]] = (0, 1)
    tokenizer: Any
    weights: str
    words: str
    length: int
    pooling: str
    prompt: str

    def config(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "length": self.length,
            "pooling": self.pooling,
            "prompt": self.prompt,
        }

    def fingerprint(self) -> str:
        """SHA-256 over weights, vocabulary and settings; where they lie does not matter."""
        parts = [self.kind, self.weights, self.words, self.length, self.pooling, self.prompt]
        digest = hashlib.sha256(json.dumps(parts).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor_bytes(tensor))
        return digest.hexdigest()

    @abstractmethod
    def hidden(self, ids: Int[Tensor, "n t"], mask: Int[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        """Hidden states of padded token ids; mask is 1 where a token is."""

    def __call__(self, *inputs: Any) -> Any:
        return nn.Module.__call__(self, *inputs)  # what may run elsewhere is `hidden`, not this

    def run(self, *inputs: Tensor) -> Tensor:
        return self.hidden(*inputs)

    def run_inputs(self, read: list[str]) -> tuple[Tensor, Tensor]:
        _, ids, mask = next(iter(self.batches([self.windows(text)[0][0] for text in read])))
        return ids, mask

    def compute(self, texts: list[str]) -> Float[Tensor, "n {self.features}"]:
        windows = [self.windows(text)[0] for text in texts]
        owner = np.repeat(np.arange(len(texts)), [len(w) for w in windows])
        flat = [ids for own in windows for ids in own]
        pooled = torch.zeros(len(flat), self.features)
        for places, states, mask in self._run(flat):
            pooled[places] = F.normalize(pool(states, mask, self.pooling), dim=1)
        sums = torch.zeros(len(texts), self.features).index_add_(0, torch.from_numpy(owner), pooled)
        return F.normalize(sums, dim=1)

    def tokens(self, texts: Any) -> list[Tokens]:
        found = []
        for text in read_texts(texts):
            windows, spans, starts = self.windows(text)
            states: list[Tensor] = [torch.zeros(0)] * len(windows)
            for places, out, mask in self._run(windows):
                for row, place in enumerate(places.tolist()):
                    states[place] = out[row, : int(mask[row].sum())]
            found.append(self._gathered(states, spans, starts))
        return found

    def _gathered(self, states: Sequence[Tensor], spans: Spans, starts: Sequence[int]) -> Tokens:
        """The best window's state of each token, without special ones and without the prompt."""
        before, after = self._special()
        best: dict[int, tuple[int, Tensor]] = {}
        for first, own in zip(starts, states, strict=True):
            inner = own[before : len(own) - after]
            for place, state in enumerate(inner):
                room = min(place + (first == 0) * self.length, len(inner) - 1 - place)
                token = first + place
                if token not in best or room > best[token][0]:
                    best[token] = (room, state)
        shift = len(self.prompt)
        kept = [t for t in sorted(best) if spans[t][1] > spans[t][0] >= shift]
        features = torch.stack([best[t][1] for t in kept]) if kept else torch.zeros(0, self.features)
        return Tokens(features, [(spans[t][0] - shift, spans[t][1] - shift) for t in kept])

    def windows(self, text: str) -> tuple[list[list[int]], Spans, list[int]]:
        """Ids of each window with special tokens; spans of all tokens; the first token of each window."""
        coded = self.tokenizer.encode(self.prompt + text, add_special_tokens=False)
        ids, (before, after) = coded.ids, self._frame()
        room = self.length - len(before) - len(after)
        step = max(room - room // 4, 1)
        starts = [0, *range(step, max(len(ids) - room // 4, 1), step)] if len(ids) > room else [0]
        return [[*before, *ids[s : s + room], *after] for s in starts], coded.offsets, starts

    def _frame(self) -> tuple[list[int], list[int]]:
        """Special tokens before and behind a text, as the tokenizer puts them around one."""
        plain = self.tokenizer.encode("a", add_special_tokens=False).ids
        full = self.tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return full[:start], full[start + len(plain) :]
        return [], []

    def _special(self) -> tuple[int, int]:
        before, after = self._frame()
        return len(before), len(after)

    def _run(self, windows: Sequence[Sequence[int]]) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """Hidden states of windows of like length together: their places, states [m, t, d] and mask [m, t]."""
        for places, ids, mask in self.batches(windows):
            with torch.no_grad():
                run = self.runner if self.runs_elsewhere(ids, mask) else self.hidden
                yield places, run(ids, mask).float(), mask

    def batches(self, windows: Sequence[Sequence[int]]) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """Windows of like length together, padded: their places [m], ids [m, t] and mask [m, t]."""
        order = sorted(range(len(windows)), key=lambda place: len(windows[place]))
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * len(windows[order[end]]) <= _BATCH:
                end += 1
            places, longest = order[start:end], len(windows[order[end - 1]])
            ids, mask = torch.zeros(2, len(places), longest, dtype=torch.long)
            for row, place in enumerate(places):
                own = torch.tensor(windows[place], dtype=torch.long)
                ids[row, : len(own)], mask[row, : len(own)] = own, 1
            yield torch.tensor(places), ids, mask
            start = end


def pool(states: Float[Tensor, "n t d"], mask: Int[Tensor, "n t"], how: str) -> Float[Tensor, "n d"]:
    """One vector for each row of states: their mean, their maximum, or the first of them."""
    if how == "cls":
        return states[:, 0]
    if how == "max":
        return states.masked_fill(mask.unsqueeze(2) == 0, -torch.inf).amax(1)
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
