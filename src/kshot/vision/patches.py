"""Naming boxes by their parts: each part of a box is looked up among the parts of the marked boxes of each class.

Boiman, Shechtman, Irani (2008), "In defense of nearest-neighbor based image classification" (distance of an image to a
class, part by part); Li et al. (2019), "Revisiting local descriptor based image-to-class measure for few-shot learning".
The parts are described as by Lowe (2004), "Distinctive image features from scale-invariant keypoints": edges by
direction. Nothing is trained, so that it tells signs apart that no network has learned from the few boxes at hand.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.heads import Head, WithoutEach

if TYPE_CHECKING:
    from jaxtyping import Float

BINS = 8
"""Directions of edges; marked boxes are also looked at turned by each of them."""
GRID = 24
"""Cells along a side of what is kept of a box: its own 16, and 4 around, which turn into view."""
_CORE = 16
AROUND = GRID / _CORE
"""What is kept of a box, in its own longer sides."""
_EDGE = (GRID - _CORE) // 2
_PARTS = _CORE - 3
"""Parts along a side; each is 4 x 4 cells, described by 2 x 2 overlapping sums of 2 x 2 cells."""
_ASKED = 2
"""Of the parts of a box that is asked about every second counts."""
_REACH = 3
"""Parts that a part may have moved by."""
_COLOUR, _FLAT = 0.15, 0.3
_MOST = 64
"""Boxes of a class; of more, those with the strongest edges."""


def edge_planes(
    picture: Float[Tensor, "n channels h w"], stride: int
) -> Float[Tensor, "n planes rows columns"]:
    """How strong edges of each of BINS directions are in each cell of `stride` pixels, and the cell's colours.

    >>> edge_planes(torch.rand(1, 3, 16, 16), 4).shape
    torch.Size([1, 11, 4, 4])
    """
    grey = F.pad(picture.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2])[:, 0]
    down = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1])[:, 0]
    strength = (across.square() + down.square()).sqrt()
    turn = torch.remainder(torch.atan2(down, across) * (BINS / (2 * math.pi)), BINS)
    away = (turn[:, None] - torch.arange(BINS, device=turn.device)[None, :, None, None]).abs()
    share = (1 - torch.minimum(away, BINS - away)).clamp(min=0)
    return F.avg_pool2d(torch.cat([strength[:, None] * share, picture], 1), stride)


class Patches(Head):
    """Score of class k: -s times the mean, over the parts of a box, of the squared distance to the nearest part that
    the marked boxes of k have near there, in any of eight turns.

    Args:
        before: numbers of a vector that lie in front of its cells, and are something else.
        planes: numbers of a cell; see `edge_planes`.

    >>> head = Patches(0, 9)
    >>> boxes = torch.rand(3, 9 * GRID**2, generator=torch.Generator().manual_seed(0))
    >>> head.respond(head.solve(boxes, torch.tensor([0, 0, 1]), 2), boxes).argmax(1).tolist()
    [0, 0, 1]
    """

    kind: ClassVar[str] = "patches"

    def __init__(self, before: int, planes: int) -> None:
        super().__init__()
        self.before, self.planes = before, planes
        self.log_scale = nn.Parameter(torch.tensor(math.log(40.0)))

    def config(self) -> dict[str, Any]:
        return {"before": self.before, "planes": self.planes}

    def solve(self, features: Tensor, targets: Tensor, size: int) -> dict[str, Tensor]:
        cells = self._cells(features)
        kept = torch.cat([_strongest(cells, (targets == k).nonzero().flatten()) for k in range(size)])
        parts = torch.stack([_parts(_core(turned(cells[kept], k))) for k in range(BINS)], 1)
        return {"parts": parts.flatten(0, 1).transpose(0, 1).contiguous(), "owner": targets[kept]}

    def respond(self, state: dict[str, Tensor], features: Tensor) -> Tensor:
        return -self.log_scale.exp() * to_classes(self.distances(state, features), state["owner"])

    def distances(self, state: dict[str, Tensor], features: Tensor) -> Tensor:
        """Squared distances [m, parts, n] of parts to the nearest of each marked box."""
        asked = _parts(_core(self._cells(features)))[:, _asked()].transpose(0, 1)  # [parts, m, d]
        count, size = len(state["owner"]), asked.shape[1]
        alike = asked.new_full((len(asked), size, count), -math.inf)
        for part, own in zip(state["parts"], _within(), strict=True):
            score = torch.addmm(-part.square().sum(1) / 2, asked[own].flatten(0, 1), part.T)
            best = score.reshape(len(own), size, count, BINS).amax(3)
            alike[own] = torch.maximum(alike[own], best)
        return (asked.square().sum(2, keepdim=True) - 2 * alike).transpose(0, 1)

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        return _PatchesWithoutEach(self, features, targets, size)

    def _cells(self, features: Tensor) -> Tensor:
        return features[:, self.before :].reshape(-1, self.planes, GRID, GRID)


class _PatchesWithoutEach(WithoutEach):
    """Boxes are apart from one another: leaving one out takes it from the boxes that are looked up."""

    def __init__(self, head: Patches, features: Tensor, targets: Tensor, size: int) -> None:
        self.head, self.features, self.targets, self.size = head, features, targets, size

    def answers(self, queries: Tensor) -> Tensor:
        return torch.stack([self._without(i, queries) for i in range(len(self.features))], 1)

    def own(self) -> Tensor:
        return torch.cat([self._without(i, self.features[i : i + 1]) for i in range(len(self.features))])

    def _without(self, left_out: int, queries: Tensor) -> Tensor:
        keep = torch.arange(len(self.features)) != left_out
        targets = self.targets[keep]
        scores = queries.new_full((len(queries), self.size), float("-inf"))
        present = torch.unique(targets)
        if len(present):
            state = self.head.solve(self.features[keep], torch.searchsorted(present, targets), len(present))
            scores[:, present] = self.head.respond(state, queries)
        return scores


def to_classes(distances: Tensor, owner: Tensor) -> Tensor:
    """Of parts to boxes [m, parts, n], to classes [m, size]: the mean over parts of the nearest box's."""
    size = int(owner.max()) + 1
    return torch.stack([distances[:, :, owner == k].amin(2).mean(1) for k in range(size)], 1)


def turned(cells: Float[Tensor, "n planes grid grid"], turns: int) -> Float[Tensor, "n planes grid grid"]:
    """The same boxes turned by so many of BINS parts of a full turn."""
    if not turns:
        return cells
    quarters, eighth = divmod(turns, 2)
    found = torch.rot90(cells, quarters, (2, 3))
    if eighth:
        c = math.cos(2 * math.pi / BINS)
        matrix = found.new_tensor([[c, -c, 0.0], [c, c, 0.0]]).expand(len(found), -1, -1)
        grid = F.affine_grid(matrix, list(found.shape), align_corners=False)
        found = F.grid_sample(found, grid, align_corners=False)
    return torch.cat([found[:, :BINS].roll(-turns, 1), found[:, BINS:]], 1)


def _core(cells: Tensor) -> Tensor:
    return cells[:, :, _EDGE : GRID - _EDGE, _EDGE : GRID - _EDGE]


def _parts(cells: Float[Tensor, "n planes core core"]) -> Float[Tensor, "n parts d"]:
    """What each part looks like, and where in the box it is."""
    sums = F.avg_pool2d(cells, 2, 1)
    edges = F.unfold(sums[:, :BINS], 2, dilation=2)
    edges = F.normalize(F.normalize(edges, dim=1).clamp(max=_FLAT), dim=1)  # no edge outweighs all others
    colours = 2 * _COLOUR * F.unfold(sums[:, BINS:], 2, dilation=2)
    along = torch.linspace(0, 1, _PARTS, device=cells.device)
    where = torch.stack(torch.meshgrid(along, along, indexing="ij")).reshape(1, 2, -1).to(cells)
    return torch.cat([edges, colours, where.expand(len(cells), -1, -1)], 1).transpose(1, 2)


@lru_cache(maxsize=1)
def _asked() -> Tensor:
    """Parts that are asked about."""
    rows, columns = torch.arange(_PARTS**2) // _PARTS, torch.arange(_PARTS**2) % _PARTS
    return ((rows % _ASKED == 0) & (columns % _ASKED == 0)).nonzero().flatten()


@lru_cache(maxsize=1)
def _within() -> list[Tensor]:
    """For each part of a marked box those among the asked ones that are near enough to be compared with it."""
    rows, columns = torch.arange(_PARTS**2) // _PARTS, torch.arange(_PARTS**2) % _PARTS
    near = ((rows[:, None] - rows[_asked()]).abs() <= _REACH) & (
        (columns[:, None] - columns[_asked()]).abs() <= _REACH
    )
    return [own.nonzero().flatten() for own in near]


def _strongest(cells: Tensor, places: Tensor) -> Tensor:
    """At most _MOST of these places, in a way that does not depend on their order."""
    if len(places) <= _MOST:
        return places
    strength = cells[places, :BINS].sum((1, 2, 3))
    return places[strength.argsort(descending=True, stable=True)[:_MOST]]
