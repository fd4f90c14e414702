"""Whether a detector names a task's boxes better by their parts, and how sure it then is: from its own examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from kshot.learners.given import embed_read
from kshot.learners.learner import Embedded
from kshot.vision.centres import Centres
from kshot.vision.detection import Detector, closer
from kshot.vision.patches import Patches, to_classes

_MOST = 300
"""Marked boxes above which looking each part up costs too much, and a network has enough to learn from."""
_SCALES = (15.0, 30.0, 60.0, 120.0)
_REFUSED = 0.05
"""Share of the marked boxes that lies below what is refused."""


class ByParts(NamedTuple):
    """What marked boxes are named by the parts of the boxes of all other pictures.

    Attributes:
        names: [n, labels] log-probabilities. right: [n] the label of each; n boxes with a label.
        picture: [n] where each is. scale, refusal: see `Patches` and `Located.outside`.
    """

    names: Tensor
    right: Tensor
    picture: Tensor
    scale: float
    refusal: float

    def probabilities(self, pictures: Sequence[int]) -> Tensor:
        """[k] of the right name of each box in these pictures."""
        kept = torch.isin(self.picture, torch.tensor(list(pictures)))
        return self.names[kept].gather(1, self.right[kept, None])[:, 0].exp()

    def hits(self, pictures: Sequence[int]) -> Tensor:
        """[k] whether each box in these pictures is named right."""
        kept = torch.isin(self.picture, torch.tensor(list(pictures)))
        return self.names[kept].argmax(1) == self.right[kept]


def by_parts(learner: Detector, inputs: Embedded, rows: Sequence[Tensor]) -> ByParts | None:
    """Each marked box named without its own picture; None where there are too many, or too few to tell.

    Args:
        learner: a detector that names in any way; its network does not matter. inputs: pictures as read.
        rows: boxes [k, 5] of each.
    """
    marked = [own[own[:, 4] >= 0] for own in rows]
    right = torch.cat(marked)[:, 4].long()
    if len(right) > _MOST or len(rows) < 2:
        return None
    looking = closer(learner)
    head = cast(Patches, looking.head)
    items = list(embed_read(looking, inputs))
    picture = torch.cat([torch.full((len(own),), n) for n, own in enumerate(marked)])
    with torch.no_grad():
        vectors = torch.cat(cast(Centres, looking.localiser).vectors_of(items, marked))
        labels = torch.unique(right, return_inverse=True)
        state = head.solve(vectors, labels[1], len(labels[0]))
        order = head.looked_up(vectors, labels[1], len(labels[0]))
        if len(order) != len(right):
            return None
        near = head.distances(state, vectors)
        near = near.masked_fill((picture[:, None] == picture[order])[:, None], math.inf)
        found = to_classes(near, state["owner"])
    wide = found.new_full((len(found), int(labels[0].max()) + 1), math.inf)
    return _scaled(wide.index_copy(1, labels[0], found), right, picture)


def _scaled(distances: Tensor, right: Tensor, picture: Tensor) -> ByParts | None:
    """With the scale under which the right names are likeliest."""
    own = distances.gather(1, right[:, None])[:, 0]
    asked = own.isfinite()  # other pictures show its label
    if not bool(asked.any()):
        return None
    distances, right, picture, own = distances[asked], right[asked], picture[asked], own[asked]
    tried = [(-scale * distances).log_softmax(1) for scale in _SCALES]
    merits = [float(names.gather(1, right[:, None]).mean()) for names in tried]
    best = merits.index(max(merits))
    refusal = -_SCALES[best] * float(own.quantile(1 - _REFUSED))
    return ByParts(tried[best], right, picture, _SCALES[best], refusal)


def looking_closer(learner: Detector, found: ByParts) -> Detector:
    """The detector with the scalars that its task's examples gave."""
    other = closer(learner)
    with torch.no_grad():
        cast(Patches, other.head).log_scale.fill_(math.log(found.scale))
        other.outside.copy_(torch.tensor([found.refusal, other.outside[1]]))
    return other
