"""Where objects are, whatever they are: centres and sides on a feature map, and what each box looks like.

Centres by Zhou, Wang, Krähenbühl (2019), "Objects as points"; distances to the four sides by Tian et al. (2019),
"FCOS"; the features of a box by sampling its map (He et al. 2017, "Mask R-CNN": RoIAlign).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.norms import GroupNorm
from kshot.learners import Candidates, Localiser, register_localiser
from kshot.learners.localiser import Where
from kshot.tasks.spaces import Boxes, BoxScores
from kshot.tasks.spaces.geometry import iou, keep_best
from kshot.vision.corrections import Layers, corrected, correction, goals, told
from kshot.vision.patches import AROUND, GRID
from kshot.vision.picture_maps import PLANES, block

_GRID = 12
"""Cells along a side of the grid on which a box is looked at."""
_SAME, _CLOSELY, _UNLIKELY = 0.6, 24, -2.2
"""Where boxes are looked at closely: overlap from which two are one, the most that are looked at, and the objectness (a
logit; one chance in ten) under which none is."""
_PRIOR = -4.0
"""Logit of objectness before training: most cells are no centre."""


@register_localiser
class Centres(Localiser):
    """Class-agnostic centre and side heads on a map of `kshot.vision.PictureMaps` or its like.

    Args:
        features: channels of the map. tower: channels of the branch that finds places.
        vector: length of what a box looks like.
        most: candidates of a picture; least: those of a smaller objectness (a logit) are left out.
        firmness: of what was meta-trained against what a support says about where things are and how large: the ridge
            of the correction (see `kshot.vision.corrections`); None: a support says nothing.
        edges: planes of edges and colours behind the features, see `kshot.vision.patches`. What a box looks like is then
            their cells, in place of the `vector` numbers; and candidates are fewer, since looking costs more.
    """

    kind: ClassVar[str] = "vision.centres"
    space = Boxes

    def __init__(
        self,
        features: int = 48,
        tower: int = 32,
        vector: int = 64,
        most: int = 100,
        least: float = -4.0,
        firmness: float | None = None,
        edges: int = 0,
    ) -> None:
        super().__init__()
        self.edges = edges
        self.features, self.width, self.vector = features, tower, vector
        self.most, self.least, self.firmness = most, least, firmness
        self.tower = nn.Sequential(block(features, tower), block(tower, tower))
        self.places = nn.Conv2d(tower, 5, 1)
        with torch.no_grad():
            self.places.bias[:] = torch.tensor([_PRIOR, 1.5, 1.5, 1.5, 1.5])  # type: ignore[index]
            self.places.weight.mul_(0.1)
        self.look = nn.Sequential(
            _apart(features, vector), nn.MaxPool2d(2), _apart(vector, vector), nn.MaxPool2d(2),
            _apart(vector, vector), nn.Flatten(), nn.Linear(9 * vector, vector),
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        more = {"edges": self.edges} if self.edges else {}
        return {
            "features": self.features, "tower": self.width, "vector": self.vector, "most": self.most,
            "least": self.least, "firmness": self.firmness, **more,
        }  # fmt: skip

    def embed(self, features: Any) -> Any:
        if isinstance(features, list):
            return [self.embed(item[None])[0] for item in features]
        maps, planes = features[:, :-PLANES], features[:, -PLANES:]
        tower = self.tower(maps[:, : self.features])
        return torch.cat([maps, tower, self.places(tower), planes], 1)

    def layers(self, item: Tensor) -> Layers:
        """The parts of an embedded picture, each [channels, h, w]."""
        return Layers(*torch.split(item, [self.features, self.edges, self.width, 1, 4, PLANES]))

    def locate(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Where:
        if self.firmness is None:
            return {}
        parts = [told(self.layers(item), own[:, :4].to(item)) for item, own in zip(items, rows, strict=True)]
        return correction(parts, self.firmness)

    def without_each(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], count: int
    ) -> list[tuple[Where, list[Tensor]]]:
        if self.firmness is None or len(items) == 1:
            return super().without_each(items, rows, count)
        parts = [told(self.layers(item), own[:, :4].to(item)) for item, own in zip(items, rows, strict=True)]
        found = []
        for place in range(len(items)):
            where = correction(parts[:place] + parts[place + 1 :], self.firmness)
            rest = [n for n in range(len(items)) if n != place]
            aside = self.aside([items[n] for n in rest], [rows[n] for n in rest], where, count)
            found.append((where, aside))
        return found

    def again(self, item: Tensor, candidates: Candidates, where: Where) -> Candidates:
        if not where or not len(candidates.places):
            return candidates
        layers = corrected(self.layers(item), where)
        return candidates._replace(objectness=layers.objectness.flatten()[candidates.origin])

    def propose(self, item: Tensor, where: Where) -> Candidates:
        layers = corrected(self.layers(item), where)
        cells, boxes = self._peaks(layers, self.most)
        objectness = layers.objectness.flatten()[cells]
        if self.edges:
            kept = (objectness > _UNLIKELY).nonzero().flatten()
            kept = kept[keep_best(boxes[kept], objectness[kept], _SAME)[:_CLOSELY]]
            cells, boxes, objectness = cells[kept], boxes[kept], objectness[kept]
        return Candidates(boxes, objectness, self._seen([layers], [boxes])[0], cells)

    def _peaks(self, layers: Layers, most: int) -> tuple[Tensor, Tensor]:
        """The likeliest centres, as places of cells [m], and their boxes [m, 4]."""
        score = layers.objectness
        peaks = F.max_pool2d(score[None], 3, 1, 1)[0] == score
        inside = (layers.planes[0] < layers.planes[2]) & (layers.planes[1] < layers.planes[3])
        flat = torch.where(peaks[0] & inside, score[0], float("-inf")).flatten()
        best = flat.detach().topk(min(most, len(flat))).indices
        cells = best[flat[best] > self.least]
        return cells, self._boxes(layers, cells)

    def _boxes(self, layers: Layers, cells: Tensor) -> Tensor:
        """Boxes [m, 4] in the picture's pixels that these cells are the centres of."""
        sides = layers.sides.flatten(1)[:, cells].T.clamp(-4, 6).exp() * layers.step.repeat(2)
        planes = layers.planes.flatten(1)[:, cells].T
        centre, limit = planes[:, :2], planes[:, 2:]
        low = (centre - sides[:, :2]).clamp(min=0)
        high = torch.minimum(centre + sides[:, 2:], limit)
        return torch.cat([low, torch.maximum(high, low + 1e-3)], 1)

    def vectors(self, item: Tensor, rows: Tensor) -> Tensor:
        return self.vectors_of([item], [rows])[0]

    def vectors_of(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> list[Tensor]:
        return self._seen([self.layers(item) for item in items], [own[:, :4] for own in rows])

    def _seen(self, layers: Sequence[Layers], boxes: Sequence[Tensor]) -> list[Tensor]:
        """What boxes of n pictures look like: n tensors [boxes, vector]."""
        if not boxes:
            return []
        look = _cells if self.edges else _patches
        seen = torch.cat([look(one, own) for one, own in zip(layers, boxes, strict=True)])
        if not self.edges:
            seen = self.look(seen.contiguous(memory_format=torch.channels_last))
        return list(torch.split(seen, [len(own) for own in boxes]))

    def aside(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], where: Where, count: int
    ) -> list[Tensor]:
        if self.edges:  # parts are so many that some of any place are like some of any class
            return [item.new_zeros(0, self.edges * GRID**2) for item in items]
        layers = [corrected(self.layers(item), where) for item in items]
        found = []
        for one, own in zip(layers, rows, strict=True):
            boxes = self._peaks(one, count + 2 * len(own) + 4)[1]
            found.append(boxes[_apart_from(boxes, own)][:count])
        return self._seen(layers, found)

    def elsewhere(self, candidates: Candidates, rows: Tensor) -> Tensor:
        return _apart_from(candidates.places, rows)

    def outputs(self, found: Sequence[Candidates], scores: Tensor, unknown: Tensor) -> BoxScores:
        image = torch.cat([torch.full((len(one.places),), n) for n, one in enumerate(found)])
        boxes = torch.cat([one.places for one in found])
        return BoxScores(image.to(boxes.device), boxes, scores, len(found), unknown)

    def loss(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """Penalty-reduced focal loss of centres, and 1 - IoU and log distance of the sides near them, per object."""
        total, count = items[0].new_zeros(()), 0
        for item, own in zip(items, rows, strict=True):
            layers = self.layers(item)
            heat, cells, gold = goals(layers, own[:, :4].to(item))
            total = total + _focal(layers.objectness[0], heat)
            count += len(own)
            if len(cells):
                boxes = self._boxes(layers, cells)
                total = total + len(own) * _side_loss(boxes, gold, layers.step)
        return total / max(count, 1)


def _sampled(layers: Layers, planes: Tensor, boxes: Tensor, count: int) -> Tensor:
    """Planes [channels, h, w] under boxes [m, 4] on a grid of `count` points a side, [m, channels, count, count]."""
    if not len(boxes):
        return boxes.new_zeros(0, len(planes), count, count)
    steps = (torch.arange(count, device=boxes.device) + 0.5).to(boxes) / count
    first = layers.planes[:2, 0, 0]
    size = boxes.new_tensor(planes.shape[:0:-1])  # width, height
    low, span = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    cells = (low + span * steps[None, :, None] - first) / layers.step  # [m, count, 2]
    places = 2 * (cells + 0.5) / size - 1
    grid = torch.stack(
        [places[:, None, :, 0].expand(-1, count, -1), places[:, :, None, 1].expand(-1, -1, count)], -1
    )
    seen = F.grid_sample(
        planes[None], grid.reshape(1, -1, count, 2), align_corners=False, padding_mode="border"
    )
    found: Tensor = seen[0].reshape(-1, len(boxes), count, count).transpose(0, 1)
    return found


def _patches(layers: Layers, boxes: Tensor) -> Tensor:
    """The features under boxes [m, 4] on a grid, [m, features, grid, grid]."""
    return _sampled(layers, layers.features, boxes, _GRID)


def _cells(layers: Layers, boxes: Tensor) -> Tensor:
    """Edges and colours of boxes [m, 4] and of what is around them, [m, planes * GRID * GRID]: on a square grid, since a
    thing keeps its shape."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (
        boxes[:, 2:] - boxes[:, :2]
    ) / layers.step  # in cells, which are square on the network's own picture
    reach = sides.amax(1, keepdim=True) * layers.step * (AROUND / 2)
    return _sampled(layers, layers.edges, torch.cat([middle - reach, middle + reach], 1), GRID).flatten(1)


def _apart_from(boxes: Tensor, rows: Tensor) -> Tensor:
    """[m] booleans: boxes [m, 4] that overlap no marked box by 0.3."""
    return (iou(boxes, rows[:, :4].to(boxes)) < 0.3).all(1)


def _apart(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, group norm, ReLU: a box looks the same in whatever company."""
    groups = max(g for g in (8, 4, 2, 1) if outputs % g == 0)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), GroupNorm(groups, outputs), nn.ReLU()
    )


def _focal(logits: Tensor, heat: Tensor) -> Tensor:
    """Equation 1 of "Objects as points", not yet divided by the number of objects."""
    chance = torch.sigmoid(logits)
    centre = heat >= 1
    hit = (1 - chance).square() * F.logsigmoid(logits)
    miss = (1 - heat) ** 4 * chance.square() * F.logsigmoid(-logits)
    return -torch.where(centre, hit, miss).sum()


def _side_loss(boxes: Tensor, gold: Tensor, step: Tensor) -> Tensor:
    low, high = torch.maximum(boxes[:, :2], gold[:, :2]), torch.minimum(boxes[:, 2:], gold[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (gold[:, 2:] - gold[:, :2]).prod(1)
    overlap = shared / (area - shared).clamp(min=1e-6)
    unit = (gold[:, 2:] - gold[:, :2]).repeat(1, 2)
    away = ((boxes - gold) / unit).abs().mean(1)
    return (1 - overlap + away).mean()
