"""Naming boxes by their parts: each part of a box is looked up among the parts of the marked boxes of each class.

Boiman, Shechtman, Irani (2008), "In defense of nearest-neighbor based image classification" (distance of an image to a
class, part by part); Li et al. (2019), "Revisiting local descriptor based image-to-class measure for few-shot learning".
The parts are described as by Lowe (2004), "Distinctive image features from scale-invariant keypoints": edges by
direction. Nothing is trained, so that it tells signs apart that no network has learned from the few boxes at hand.
"""

from __future__ import annotations

import math
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
"""Of the parts of a box that is asked about every second along a side counts."""
_SIDE = _PARTS // _ASKED + 1
"""Parts asked about, along a side. Each is compared with the part of a marked box at its place and the eight around it."""
_GROUPS = [_SIDE**2, _SIDE * (_SIDE - 1), _SIDE * (_SIDE - 1), (_SIDE - 1) ** 2]
"""Parts in even rows and columns of a box, in even rows and odd columns, the other way round, and in odd ones."""
_SHIFTS = ((slice(None),), (slice(None, -1), slice(1, None)))
_CORNERS = [
    [(down, across) for down in rows for across in columns] for rows in _SHIFTS for columns in _SHIFTS
]
"""For each group the parts asked about that are next to its parts: one, two, two and four of them."""
_AT_ONCE = 8192
"""Boxes asked about times marked boxes, which bounds the memory that is needed."""
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
    count, _, height, width = picture.shape
    rows, columns = height // stride, width // stride
    grey = F.pad(picture.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2])[:, 0, : rows * stride, : columns * stride]
    down = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1])[:, 0, : rows * stride, : columns * stride]
    strength = (across.square() + down.square()).sqrt() / stride**2
    turn = torch.remainder(torch.atan2(down, across) * (BINS / (2 * math.pi)), BINS)
    below = turn.long()
    more = strength * (turn - below)  # an edge counts for the two directions that it lies between
    cell = _cell_of(count, rows, columns, stride, picture.device)
    first = cell + below * (count * rows * columns)
    edges = picture.new_zeros((BINS + 2) * count * rows * columns)
    edges.scatter_add_(0, first.flatten(), (strength - more).flatten())
    edges.scatter_add_(0, (first + count * rows * columns).flatten(), more.flatten())
    edges = edges.reshape(BINS + 2, count, rows, columns)
    edges[:2] += edges[BINS:]  # a full turn further
    return torch.cat([edges[:BINS].transpose(0, 1), F.avg_pool2d(picture, stride)], 1)


def _cell_of(count: int, rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """The number of the cell that each pixel lies in, [count, rows * stride, columns * stride]."""
    down = torch.arange(rows * stride, device=device) // stride
    across = torch.arange(columns * stride, device=device) // stride
    own = down[:, None] * columns + across
    return own + (torch.arange(count, device=device) * (rows * columns))[:, None, None]


class Patches(Head):
    """Score of class k: -s times the mean, over the parts of a box, of the squared distance to the nearest part that
    the marked boxes of k have near there, in any of eight turns.

    A state holds the parts of all marked boxes and turns, in the order of `_in_groups`, and the class of
    each box, -1 for a box that is left out; perhaps also "near", the `distances` of the features that are asked about.

    Args:
        planes: numbers of a cell; see `edge_planes`.

    >>> head = Patches(9)
    >>> boxes = torch.rand(3, 9 * GRID**2, generator=torch.Generator().manual_seed(0))
    >>> head.respond(head.solve(boxes, torch.tensor([0, 0, 1]), 2), boxes).argmax(1).tolist()
    [0, 0, 1]
    """

    kind: ClassVar[str] = "patches"

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self.log_scale = nn.Parameter(torch.tensor(math.log(40.0)))

    def config(self) -> dict[str, Any]:
        return {"planes": self.planes}

    def solve(self, features: Tensor, targets: Tensor, size: int) -> dict[str, Tensor]:
        cells = self._cells(features)
        kept = self.looked_up(features, targets, size)
        parts = torch.stack([_parts(_core(turned(cells[kept], k))) for k in range(BINS)])
        return {"parts": _in_groups(parts), "owner": targets[kept]}

    def looked_up(self, features: Tensor, targets: Tensor, size: int) -> Tensor:
        """Places of the boxes that a state holds, in its order: of each class at most _MOST, those of the strongest edges."""
        cells = self._cells(features)
        return torch.cat([_strongest(cells, (targets == k).nonzero().flatten()) for k in range(size)])

    def respond(self, state: dict[str, Tensor], features: Tensor) -> Tensor:
        near = state["near"] if "near" in state else self.distances(state, features)
        return -self.log_scale.exp() * to_classes(near, state["owner"])

    def distances(self, state: dict[str, Tensor], features: Tensor) -> Tensor:
        """Squared distances [m, parts, n] of parts to the nearest of each marked box."""
        count = len(state["owner"])
        some = torch.split(features, max(1, _AT_ONCE // max(count, 1)))
        return torch.cat([self._distances(state["parts"], own, count) for own in some])

    def _distances(self, parts: Tensor, features: Tensor, count: int) -> Tensor:
        asked = _parts(_core(self._cells(features)), _ASKED).transpose(0, 1)  # [parts, m, d]
        lengths = asked.square().sum(2)
        asked = F.pad(asked, (0, 1), value=1.0)
        asked = asked.reshape(_SIDE, _SIDE, *asked.shape[1:])
        alike = asked.new_full((_SIDE, _SIDE, count, len(features)), -math.inf)
        for group, corners in zip(torch.split(parts, _GROUPS), _CORNERS, strict=True):
            near = torch.stack(
                [asked[down][:, across] for down, across in corners], 2
            )  # [rows, columns, k, m, d]
            rows = group.unflatten(0, near.shape[:2])  # type: ignore[no-untyped-call]
            for row, (own, there) in enumerate(
                zip(near, rows, strict=True)
            ):  # what fits into a processor's cache
                found = torch.bmm(there, own.flatten(1, 2).transpose(1, 2))
                best = found.reshape(len(there), BINS, count, len(corners), -1).amax(1)
                for k, (down, across) in enumerate(corners):
                    place = alike[down, across][row]
                    torch.maximum(place, best[:, :, k], out=place)
        squares: Tensor = lengths[:, None] - 2 * alike.flatten(0, 1)
        return squares.permute(2, 0, 1)

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        if int(torch.bincount(targets, minlength=size).max()) > _MOST:
            return super().without_each(features, targets, size)  # leaving one out lets another in
        return _PatchesWithoutEach(self, features, targets, size)

    def _cells(self, features: Tensor) -> Tensor:
        return features.detach().reshape(-1, self.planes, GRID, GRID)  # nothing of them was learned


class _PatchesWithoutEach(WithoutEach):
    """Boxes are apart from one another: leaving one out takes it from the boxes that are looked up."""

    def __init__(self, head: Patches, features: Tensor, targets: Tensor, size: int) -> None:
        self.head, self.features, self.size = head, features, size
        self.order = head.looked_up(features, targets, size)
        self.state = head.solve(features, targets, size)

    def answers(self, queries: Tensor) -> Tensor:
        near = self.head.distances(self.state, queries)
        return torch.stack([self._scores(near, i) for i in range(len(self.features))], 1)

    def own(self) -> Tensor:
        near = self.head.distances(self.state, self.features)
        return torch.cat([self._scores(near[i : i + 1], i) for i in range(len(self.features))])

    def _scores(self, near: Tensor, left_out: int) -> Tensor:
        owner = self.state["owner"].masked_fill(self.order == left_out, -1)
        return -self.head.log_scale.exp() * to_classes(near, owner, self.size)


def to_classes(distances: Tensor, owner: Tensor, size: int | None = None) -> Tensor:
    """Of parts to boxes [m, parts, n], to classes [m, size]: the mean over parts of the nearest box's; infinite where a
    class has none.

    Args:
        owner: [n] the class of each box, -1 for one that is left out. size: None: as many as have boxes.
    """
    found = distances.new_full((*distances.shape[:2], size or int(owner.max()) + 1), math.inf)
    for k in torch.unique(owner[owner >= 0]).tolist():
        found[:, :, k] = distances[:, :, owner == k].amin(2)
    return found.mean(1)


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


def _parts(cells: Float[Tensor, "n planes core core"], every: int = 1) -> Float[Tensor, "n parts d"]:
    """What each part looks like, and where in the box it is; with `every` 2 every second part along a side."""
    sums = F.avg_pool2d(cells, 2, 1)
    edges = F.unfold(sums[:, :BINS], 2, dilation=2, stride=every)
    edges = F.normalize(F.normalize(edges, dim=1).clamp(max=_FLAT), dim=1)  # no edge outweighs all others
    colours = 2 * _COLOUR * F.unfold(sums[:, BINS:], 2, dilation=2, stride=every)
    along = torch.linspace(0, 1, _PARTS, device=cells.device)[::every]
    where = torch.stack(torch.meshgrid(along, along, indexing="ij")).reshape(1, 2, -1).to(cells)
    return torch.cat([edges, colours, where.expand(len(cells), -1, -1)], 1).transpose(1, 2)


def _in_groups(parts: Float[Tensor, "turns n parts d"]) -> Float[Tensor, "parts rows more"]:
    """Parts in the order of _GROUPS, of each one row for every turn and box, the box fastest. Behind the numbers of a part
    is minus half their squared length, so that one product with (a part, 1) tells how near they are."""
    parts = torch.cat([parts, -parts.square().sum(3, keepdim=True) / 2], 3)
    square = parts.permute(2, 0, 1, 3).flatten(1, 2).reshape(_PARTS, _PARTS, -1, parts.shape[3])
    groups = [square[down::2, across::2].flatten(0, 1) for down in (0, 1) for across in (0, 1)]
    return torch.cat(groups)


def _strongest(cells: Tensor, places: Tensor) -> Tensor:
    """At most _MOST of these places, in a way that does not depend on their order."""
    if len(places) <= _MOST:
        return places
    strength = cells[places, :BINS].sum((1, 2, 3))
    return places[strength.argsort(descending=True, stable=True)[:_MOST]]
