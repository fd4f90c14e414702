"""What a support says about where things are: a closed-form correction of meta-trained centre and side heads.

The heads are linear in the tower's features. Their correction is, for sides, a ridge regression of what is left to
explain at marked centres; for objectness, a logistic regression by Newton's steps (iteratively reweighted least
squares) with a Gaussian prior around the meta-trained weights. Both are sums over pictures, so that the order of
examples does not matter, and a picture left out leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.learners.localiser import Where

_STEPS = 4
_AWAY = 32
"""Peaks of a picture that are no marked centre and count as examples of none."""
_FEW = 0.1
"""What a cell of the regular grid counts, which keeps the rest of the picture dark."""


class Layers(NamedTuple):
    """The channels of an embedded picture: features, edges (perhaps none), features about places, objectness, sides,
    planes."""

    features: Tensor
    edges: Tensor
    tower: Tensor
    objectness: Tensor
    sides: Tensor
    planes: Tensor

    @property
    def step(self) -> Tensor:
        """Width and height of a cell in the picture's pixels, [2]."""
        x, y = self.planes[0], self.planes[1]
        across = x[0, 1] - x[0, 0] if x.shape[1] > 1 else 2 * x[0, 0]
        down = y[1, 0] - y[0, 0] if y.shape[0] > 1 else 2 * y[0, 0]
        return torch.stack([across, down])


class Told(NamedTuple):
    """What one picture tells.

    Attributes:
        cells: [m, tower + 1] features of cells, with a 1 behind. logits, goal, weight: of their objectness, [m].
        central: [k, tower + 1] features of cells near marked centres. rest: [k, 4] what is left of their log sides.
    """

    cells: Tensor
    logits: Tensor
    goal: Tensor
    weight: Tensor
    central: Tensor
    rest: Tensor


def told(layers: Layers, gold: Tensor) -> Told:
    """What a picture with these boxes [k, 4] tells: its marked centres, and its peaks elsewhere."""
    heat, central, owner = goals(layers, gold)
    score = layers.objectness[0]
    peaks = (F.max_pool2d(score[None], 3, 1, 1)[0] == score) & (heat < 0.3)
    grid = torch.zeros_like(peaks)
    grid[2::4, 2::4] = True
    inside = ((layers.planes[0] < layers.planes[2]) & (layers.planes[1] < layers.planes[3])).flatten()
    ranked = torch.where(peaks.flatten() & inside, score.flatten(), float("-inf")).detach()
    best = ranked.topk(min(_AWAY, len(ranked)))
    far = best.indices[best.values > -8]
    calm = ((grid & (heat < 0.01)).flatten() & inside).nonzero().flatten()
    marked = (heat >= 0.8).flatten().nonzero().flatten()
    cells = torch.cat([marked, far, calm])
    weight = score.new_ones(len(cells))
    weight[len(marked) + len(far) :] = _FEW
    goal = torch.zeros_like(weight)
    goal[: len(marked)] = 1.0
    features = with_one(layers.tower.flatten(1).T)
    planes = layers.planes.flatten(1)[:2, central].T
    sides = torch.cat([planes - owner[:, :2], owner[:, 2:] - planes], 1).clamp(min=1e-3)
    wanted = (sides / layers.step.repeat(2)).log() - layers.sides.flatten(1)[:, central].T
    return Told(features[cells], score.flatten()[cells], goal, weight, features[central], wanted)


def correction(parts: Sequence[Told], firmness: float) -> Where:
    """Weights [tower + 1] and [tower + 1, 4] to be added to the heads."""
    joined = Told(*(torch.cat(list(each)) for each in zip(*parts, strict=True)))
    count = joined.cells.shape[1]
    prior = firmness * torch.eye(count).to(joined.cells)
    change = joined.cells.new_zeros(count)
    for _ in range(_STEPS):
        chance = torch.sigmoid(joined.logits + joined.cells @ change)
        slope = joined.cells.T @ (joined.weight * (joined.goal - chance)) - prior @ change
        curve = joined.cells.T @ ((joined.weight * chance * (1 - chance))[:, None] * joined.cells) + prior
        change = change + torch.linalg.solve(curve, slope)
    sides = torch.linalg.solve(joined.central.T @ joined.central + prior, joined.central.T @ joined.rest)
    return {"objectness": change, "sides": sides}


def corrected(layers: Layers, where: Where) -> Layers:
    """The layers of a picture as a support sees them."""
    if not where:
        return layers
    tower, (height, width) = with_one(layers.tower.flatten(1).T), layers.tower.shape[1:]
    objectness = layers.objectness + (tower @ where["objectness"]).reshape(1, height, width)
    sides = layers.sides + (tower @ where["sides"]).T.reshape(4, height, width)
    return layers._replace(objectness=objectness, sides=sides)


def with_one(features: Tensor) -> Tensor:
    """Rows of features with a 1 behind, for the bias."""
    return torch.cat([features, torch.ones_like(features[:, :1])], 1)


def goals(layers: Layers, gold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How near each cell is to a centre, [h, w] in 0..1; the cells whose sides count, and the box of each."""
    x, y = layers.planes[0], layers.planes[1]
    if not len(gold):
        return torch.zeros_like(x), x.new_zeros(0, dtype=torch.long), gold
    gold = gold[
        ((gold[:, 2:] - gold[:, :2]).prod(1)).argsort()
    ]  # where boxes share a cell, the smaller has it
    middle, size = (gold[:, :2] + gold[:, 2:]) / 2, gold[:, 2:] - gold[:, :2]
    away = torch.stack([x, y])[None] - middle[:, :, None, None]  # [k, 2, h, w]
    reach = torch.maximum(size * 0.12, layers.step * 0.5)[:, :, None, None]
    near = torch.exp(-0.5 * (away / reach).square().sum(1))
    nearest = (away / layers.step[:, None, None]).square().sum(1).flatten(1).argmin(1)
    near = near.flatten(1).scatter(1, nearest[:, None], 1.0).reshape(len(gold), *x.shape)
    central = (away.abs() <= torch.maximum(size * 0.2, layers.step * 0.75)[:, :, None, None]).all(1)
    cells = central.any(0).flatten().nonzero().flatten()
    owner = central.flatten(1)[:, cells].to(torch.uint8).argmax(0)
    return near.amax(0), cells, gold[owner]
