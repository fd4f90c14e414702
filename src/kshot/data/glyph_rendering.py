"""Pens and scanners: strokes on a page become brightness, and that a picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.data.dice import Dice
from kshot.data.glyph_programs import SAMPLES

POINTS = 144  # points along all strokes of a drawing that leave ink
DOT = 1.5  # length of ink in a dot, in pixels of a 28-pixel page


def ink(strokes: Tensor, alive: Tensor, scanned: Tensor, size: int, dice: Dice) -> Tensor:
    """Brightness [rows, size, size] of strokes on a page from 0 to 1 under a pen of random width and edge."""
    unit = size / 28  # widths are stated in pixels of a 28-pixel page
    distance = _distance(*_spread(strokes * size, alive, size, dice), size, 0.7 * unit)
    rows = len(strokes)
    thin = torch.exp(dice.normal(0.25, rows)) * 0.68
    thick = dice.uniform(1.0, 2.6, rows)
    radius = (torch.where(scanned, thick, thin) * unit)[:, None, None]
    rough = _smooth_noise(rows, size, dice) * dice.uniform(0, 0.25, rows, 1, 1)
    edge = dice.uniform(1.0, 1.8, rows, 1, 1) * unit
    return ((radius * (1 + rough) - distance) / edge + 0.5).clamp(0, 1)


def _spread(ink: Tensor, alive: Tensor, size: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """Points [rows, POINTS, 2] at equal spacing along all living strokes, and the ink each leaves [rows, POINTS]."""
    rows, strokes = alive.shape
    dot = DOT * size / 28 / SAMPLES  # a stroke without length still makes a mark
    move = (ink[:, :, 1:] - ink[:, :, :-1]).norm(dim=-1) + dot
    move = F.pad(move * alive.unsqueeze(-1), (1, 0)).flatten(1)  # no ink between strokes
    run = move.cumsum(1)
    ticks = torch.linspace(0, 1, POINTS, device=ink.device) * (1 - 1e-5)
    right = torch.searchsorted(run, ticks * run[:, -1:], right=True).clamp(1, strokes * SAMPLES - 1)
    share = (ticks * run[:, -1:] - run.gather(1, right - 1)) / move.gather(1, right).clamp_min(1e-6)
    path = ink.flatten(1, 2)
    left = path.gather(1, (right - 1).unsqueeze(2).expand(-1, -1, 2))
    points = left.lerp(path.gather(1, right.unsqueeze(2).expand(-1, -1, 2)), share.unsqueeze(2))
    along = torch.linspace(-1, 1, SAMPLES, device=ink.device)
    press = dice.normal(0.2, rows, strokes, 1) + dice.normal(0.3, rows, strokes, 1) * along
    return points, press.flatten(1).gather(1, right).exp() * run[:, -1:] / POINTS


def _distance(points: Tensor, weight: Tensor, size: int, sharp: float) -> Tensor:
    """Soft distance in pixels from every pixel centre to the nearest ink: [rows, size, size].

    A sum of Gaussians of width `sharp` along a stroke falls off as exp(-d^2 / 2 sharp^2), so its logarithm is a
    squared distance; and the sum is one matrix product, because a Gaussian is separable. It is capped where the
    sum vanishes, near ten times `sharp`.
    """
    centre = torch.arange(size, device=points.device) + 0.5
    near = torch.exp((points.mT.unsqueeze(2) - centre.view(1, 1, -1, 1)).square() / (-2 * sharp**2))
    across, down = near.unbind(1)
    line = weight / (sharp * math.sqrt(2 * math.pi))
    total = (down * line.unsqueeze(1)) @ across.mT
    return (-2 * sharp**2 * torch.log(total + 1e-20)).clamp_min(0).sqrt()


def _smooth_noise(rows: int, size: int, dice: Dice) -> Tensor:
    """Blotches of unit spread and about a fifth of the page: [rows, size, size]."""
    return F.interpolate(dice.normal(1.0, rows, 1, 7, 7), (size, size), mode="bilinear").squeeze(1)


def scan(image: Tensor, scanned: Tensor, dice: Dice) -> Tensor:
    """Blur or lower the resolution, then change contrast and add noise."""
    lenses = _lenses(image.shape[-1]).to(image)
    plain = dice.pick((6.0, 1.0, 0.3) + (0.05,) * (len(lenses) - 3), len(image))
    rough = dice.pick((0.5, 0.7, 0.7) + (1.0,) * (len(lenses) - 3), len(image))
    lens = lenses[torch.where(scanned, rough, plain)]
    image = lens @ image @ lens.mT
    peak = image.amax((1, 2), keepdim=True).clamp_min(0.2)
    shape = (len(image), 1, 1)
    image = (image / peak) ** torch.exp(dice.normal(0.15, *shape)) * dice.uniform(0.8, 1.05, *shape)
    noisy = dice.uniform(0, 0.06, *shape) * dice.chance(0.2, *shape)
    return image + noisy * dice.normal(1.0, *image.shape)


def _lenses(size: int) -> Tensor:
    """Maps [lenses, size, size] along one axis: none, two blurs, and down to fewer pixels and back."""
    blurs = [_blur(size, 0.0), _blur(size, 0.6 * size / 28), _blur(size, 1.0 * size / 28)]
    return torch.stack(
        blurs + [_coarse(size, round(size * share)) for share in (0.25, 0.286, 0.33, 0.4, 0.5)]
    )


def _blur(size: int, width: float) -> Tensor:
    """A Gaussian blur along one axis: [size, size]."""
    where = torch.arange(size, dtype=torch.float32)
    weight = torch.exp(-((where - where.unsqueeze(1)) ** 2) / (2 * max(width, 1e-3) ** 2))
    return weight / weight.sum(1, keepdim=True)


def _coarse(size: int, few: int) -> Tensor:
    """Averages into `few` pixels along one axis, then linear interpolation back: [size, size]."""
    left, low = torch.arange(size) * few / size, torch.arange(few).unsqueeze(1)
    overlap = (torch.minimum(left + few / size, low + 1.0) - torch.maximum(left, low + 0.0)).clamp_min(0)
    back = F.interpolate(torch.eye(few).unsqueeze(0), size, mode="linear").squeeze(0).mT
    return back @ (overlap / overlap.sum(1, keepdim=True))
