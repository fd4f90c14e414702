"""Entities of any kind from a few marked texts: found by a class-agnostic finder, named by prototypes of spans."""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.errors import DataError, SettingError
from kshot.heads import Head, PrototypeHead
from kshot.learners import Located
from kshot.learners.learner import State
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace
from kshot.text.finder import SpanFinder
from kshot.text.marked import marked_units
from kshot.text.specs import encoder as encoder_of
from kshot.text.texts import TextEncoder
from kshot.text.unit_features import UnitFeatures


class Entities(Located):
    """Spans of texts, found and named. `kshot.text.entities` makes one; `kshot.fit` on `SpanTasks` trains its finder.

    `adapt` and `add` take pairs (text, spans), or texts and for each a list of spans. A span is (start, end, label): first
    character and the one behind the last. Its label may be None: an entity of no kind that is taught. A text without
    spans shows what is none. Spans that overlap, cut a word, hold only spaces, or lie outside of their text are a
    DataError.

    >>> task = entities("hash:ngram").adapt([("Ada Lovelace met Mary", [(0, 12, "person"), (17, 21, "person")])])
    >>> [span.label for span in task.predict(["Then Ada Lovelace wrote"]).spans[0]]
    ['person']
    """

    kind: ClassVar[str] = "entities"

    def __init__(
        self,
        encoder: Encoder,
        localiser: SpanFinder | dict[str, Any] | None = None,
        head: str | Head = "prototype",
    ) -> None:
        if not isinstance(encoder, UnitFeatures):
            if not isinstance(encoder, TextEncoder):
                raise SettingError(
                    f"the encoder takes {encoder.modality} inputs; entities need one for texts"
                )
            encoder = UnitFeatures(encoder)
        if head != "prototype" and not isinstance(head, PrototypeHead):
            raise SettingError(f"head is {head!r}; entities are named by prototypes: leave it out")
        super().__init__(encoder, localiser or SpanFinder(encoder.features), head)
        for name, values in _SCALARS.items():
            getattr(self, name).data.copy_(torch.tensor(values))
        assert isinstance(self.head, PrototypeHead)
        self.head.log_scale.data.fill_(math.log(_SCALE))

    def unpacked(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        pairs = targets is None and not isinstance(inputs, Examples)
        texts, spans = _pairs(inputs) if pairs else super().unpacked(inputs, targets)
        return texts, [list(own) for own in spans]

    def named(self, vectors: Tensor, labels: Tensor, size: int) -> State:
        """Prototypes of length 1, so that wide classes and classes of few examples are no further away than others."""
        present, places = torch.unique(labels, return_inverse=True)
        unit = F.normalize(vectors, dim=1)
        sums = unit.new_zeros(len(present), unit.shape[1]).index_add(0, places, unit)
        rest = F.normalize(sums[places] - unit, dim=1)
        own = self._score((unit * rest).sum(1))
        count = torch.bincount(places, minlength=len(present)).to(vectors.dtype)
        total = torch.zeros_like(count).index_add(0, places, own.masked_fill((count == 1)[places], 0.0))
        prior, weight = self.level[0] + self.level[1] / count, self.log_weight.exp()
        levels = torch.where(count > 1, (weight * prior + total) / (weight + count), prior)
        return {"present": present, "levels": levels, "prototypes": F.normalize(sums, dim=1)}

    def _score(self, cosine: Tensor) -> Tensor:
        """Half the squared distance of vectors of length 1, scaled."""
        assert isinstance(self.head, PrototypeHead)
        return -self.head.log_scale.exp() * (1 - cosine)

    def names(self, state: State, vectors: Tensor, space: OutputSpace) -> Tensor:
        """As `Located.names`, but levels only decide what is refused: among classes the nearest prototype names."""
        scores = self._score(F.normalize(vectors, dim=1) @ state["prototypes"].to(vectors).T)
        wide = scores.new_full((len(vectors), space.size - 1), float("-inf"))
        wide = wide.index_copy(1, state["present"], scores.log_softmax(1))
        refusal = self.outside[0].expand(len(vectors))
        if len(state["aside"]):
            near = F.normalize(vectors, dim=1) @ F.normalize(state["aside"], dim=1).T
            refusal = torch.logaddexp(refusal, self.outside[1] + self._score(near.amax(1)) - self.level.sum())
        known = (scores - state["levels"]).amax(1) - refusal
        return torch.cat([F.logsigmoid(-known)[:, None], F.logsigmoid(known)[:, None] + wide], 1)

    def solve(self, support: Examples, space: OutputSpace) -> State:
        for place, (item, rows) in enumerate(zip(support.inputs, support.targets, strict=True)):
            try:
                marked_units(item, rows)
            except DataError as cause:
                raise DataError(f"text {place}: {cause}") from None
        return super().solve(support, space)


_SCALARS = {"level": [-8.0, -2.0], "outside": [-4.0, -5.0], "log_weight": 0.0}
_SCALE = 12.0
"""Of naming, before any meta-training; the scale is of distances between prototypes and spans."""


def _pairs(inputs: Any) -> tuple[list[Any], list[Any]]:
    pairs = list(inputs) if not isinstance(inputs, str) and hasattr(inputs, "__iter__") else [inputs]
    for place, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(
                f"example {place} is {str(pair)[:60]!r}; give pairs (text, [(start, end, label)]), or "
                "adapt(texts, spans) with one list of spans for each text"
            )
    return [text for text, _ in pairs], [spans for _, spans in pairs]


def entities(encoder: str | Encoder = "hash:ngram", *, download: bool = False) -> Entities:
    """A learner of entities, on a text encoder or on one named by a string (see `kshot.text.encoder`).

    Its finder is the one that travels with kshot, which knows how entities look (capitals, digits, signs and what
    stands beside them) and nothing of an encoder's features: those speak when it adapts. Meta-train it on marked texts
    of your own for much better finds: `kshot.fit(learner, SpanTasks(...))`.

    Args:
        download: as for `kshot.text.encoder`.

    >>> import kshot
    >>> learner = kshot.text.entities("hash:ngram")
    >>> task = learner.adapt([("Send it to Mrs Ito in Kyoto", [(15, 18, "person"), (22, 27, "place")])])
    >>> task.predict(["Ask Mrs Ito"]).spans[0][0].label
    'person'
    """
    made = encoder_of(encoder, download=download) if isinstance(encoder, str) else encoder
    learner = Entities(made).eval()
    known = shipped()
    if known is not None:
        _take(learner, known)
    return learner


def _take(learner: Entities, known: dict[str, Tensor]) -> None:
    """The shipped weights; what would read an encoder's features begins at nothing."""
    finder = learner.localiser
    assert isinstance(finder, SpanFinder)
    own = {name.removeprefix("finder."): t.clone() for name, t in known.items() if name.startswith("finder.")}
    own["content.weight"] = torch.zeros_like(finder.content.weight)
    own |= {name: t for name, t in finder.state_dict().items() if name.startswith("norm.")}
    finder.load_state_dict(own)


@cache
def shipped() -> dict[str, Tensor] | None:
    """The finder that travels with kshot; `python -m benchmarks.entities finder` makes it, on sentences that kshot
    writes itself. None where the file is not there."""
    file = Path(str(resources.files("kshot") / "text" / "finder.safetensors"))
    return {name: t.float() for name, t in load_file(file).items()} if file.is_file() else None
