"""New classes of characters: programs that nobody wrote before, from a table of elementary strokes.

A class is what its drawings share; how drawers differ is in `glyph_drawers`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from kshot.data.dice import Dice
from kshot.data.glyph_programs import JOINTS, SAMPLES, Program, bounds, local_points, of_host, trace

DRAFTS = 3  # programs written per class, of which the most legible stays
GRID = 9  # cells along the page when legibility is judged


class _Shape(NamedTuple):
    """An elementary stroke."""

    turns: tuple[int, ...]  # degrees before each step
    low: float  # the turns are scaled by a factor from low
    high: float  # to high
    bend: float  # how round the corners are: 0 = sharp, 1 = smooth
    often: float  # chosen in proportion to this


SHAPES = (
    _Shape((0, 0, 0, 0, 0, 0, 0, 0), 1.0, 1.0, 0.5, 4.0),  # line
    _Shape((0, 10, 10, 10, 10, 10, 10, 10), 0.5, 3.2, 1.0, 4.0),  # arc
    _Shape((0, 45, 45, 45, 45, 45, 45, 45), 0.92, 1.05, 1.0, 2.5),  # ring
    _Shape((0, 55, 55, 55, 55, 55, 55, 55), 0.9, 1.3, 1.0, 0.4),  # spiral
    _Shape((0, 20, 20, 20, 0, -20, -20, -20), 0.7, 2.4, 1.0, 1.5),  # S
    _Shape((0, 0, 0, 0, 100, 0, 0, 0), 0.5, 1.4, 0.15, 2.5),  # corner
    _Shape((0, 0, 0, 0, 0, 0, 40, 55), 0.6, 2.0, 0.8, 1.2),  # hook
    _Shape((0, 0, 0, 30, 60, 60, 30, 0), 0.7, 1.25, 0.9, 1.5),  # U
    _Shape((0, 0, 0, 90, 0, 90, 0, 0), 0.85, 1.1, 0.1, 1.2),  # bracket
    _Shape((0, 0, 0, 120, 0, -120, 0, 0), 0.7, 1.2, 0.15, 1.2),  # Z
    _Shape((0, 0, 120, 0, -120, 0, 120, 0), 0.7, 1.25, 0.3, 0.9),  # W
    _Shape((0, 0, 90, 0, 90, 0, 90, 0), 0.97, 1.03, 0.1, 1.0),  # box
    _Shape((0, 0, 60, 60, 0, 60, 60, 60), 0.97, 1.03, 0.2, 0.6),  # triangle with worn corners
    _Shape((0, 0, 45, 90, 90, 90, 45, 0), 0.9, 1.1, 1.0, 1.0),  # loop in the middle
    _Shape((0, 0, 0, 20, 70, 80, 80, 70), 0.8, 1.1, 1.0, 1.0),  # loop at the end
    _Shape((0, 50, 50, 50, -140, 50, 50, 50), 0.8, 1.2, 0.7, 1.0),  # two bows and a cusp
    _Shape((0, 0, 0, -150, 40, 50, 50, 0), 0.8, 1.1, 0.6, 0.9),  # stem and arch
    _Shape((0, 0, 40, 60, 30, -110, 0, 0), 0.8, 1.2, 0.5, 0.9),  # arch and tail
)


def write_programs(classes: int, strokes: int, copies: float, kin: float, dice: Dice) -> Program:
    """New classes: strokes, joints, repeats, shared parts and a place on the page; settings as in `GlyphFamily`."""
    program = _write_strokes(classes * DRAFTS, strokes, dice)
    program = _legible(_repeat_strokes(program, copies, dice))
    program = _share_strokes(program, kin, dice)
    return _frame(program, dice)


def _legible(drafts: Program) -> Program:
    """The draft of each class that covers most page for its ink: scripts avoid strokes that crowd each other."""
    cell = trace(drafts)
    low, high = bounds(cell, drafts.alive)
    cell = (
        (cell - low[:, None, None])
        / (high - low).amax(1).clamp_min(0.05)[:, None, None, None]
        * (GRID - 0.01)
    )
    ink = ((cell[:, :, 1:] - cell[:, :, :-1]).norm(dim=-1) * drafts.alive.unsqueeze(-1)).sum((1, 2))
    visited = torch.zeros(drafts.rows, GRID * GRID, device=ink.device)
    index = (cell.long() @ torch.tensor([1, GRID], device=ink.device)).clamp(0, GRID * GRID - 1)
    alive = drafts.alive.unsqueeze(-1).expand(-1, -1, SAMPLES).to(visited)
    visited.scatter_reduce_(1, index.flatten(1), alive.flatten(1), "amax")
    best = (visited.sum(1) / (ink + GRID / 2)).view(-1, DRAFTS).argmax(1)
    return drafts.take(torch.arange(len(best), device=ink.device) * DRAFTS + best)


def _write_strokes(classes: int, strokes: int, dice: Dice) -> Program:
    shape = (classes, strokes)
    turn, bend = _walks(shape, dice)
    program = Program(
        turn=turn,
        step=_steps(shape, dice),
        stretch=dice.normal(0.3, *shape),
        bend=bend,
        host=(dice.uniform(0, 1, *shape) * torch.arange(strokes, device=turn.device)).long(),
        at=_anchors((0.25, 0.25, 0.2, 0.3), shape, dice),
        own=_anchors((0.55, 0.1, 0.2, 0.15), shape, dice),
        gap=dice.normal(0.35, *shape, 2) * dice.chance(0.25, *shape, 1),
        alive=_alive(classes // DRAFTS, strokes, dice).repeat_interleave(DRAFTS, 0),
        frame=torch.zeros(classes, 1, 6, device=turn.device),
    )
    return _resize(program, dice)


def _walks(shape: tuple[int, int], dice: Dice) -> tuple[Tensor, Tensor]:
    """Turns [*shape, JOINTS] and bend [*shape] of random elementary strokes."""
    kind = dice.pick(tuple(shape.often for shape in SHAPES), *shape)
    device = kind.device
    table = torch.tensor([row.turns for row in SHAPES], device=device) * (math.pi / 180)
    low, high, bend = torch.tensor([row[1:4] for row in SHAPES], device=device)[kind].unbind(-1)
    turn = table[kind] * (low + (high - low) * dice.uniform(0, 1, *shape)).unsqueeze(-1)
    # Three strokes in ten leave the table: every turn is changed by a random amount.
    loose = dice.chance(0.3, *shape, 1) * dice.uniform(0, 0.4, *shape, 1)
    turn = turn + loose * dice.normal(1.0, *shape, JOINTS)
    turn = torch.where(dice.chance(0.3, *shape, 1), turn.flip(-1), turn)
    turn = torch.where(dice.chance(0.5, *shape, 1), -turn, turn)
    turn[..., 0] = _headings(shape, dice)
    return turn, (bend + dice.normal(0.25, *shape)).clamp(0, 1)


def _headings(shape: tuple[int, int], dice: Dice) -> Tensor:
    """Down and across are common, slants less so, anything now and then."""
    eighth = dice.pick((3.0, 1.0, 4.0, 1.0, 1.0, 0.5, 1.0, 0.5), *shape) * (math.pi / 4)
    near = eighth + dice.normal(0.12, *shape)
    return torch.where(dice.chance(0.3, *shape), dice.uniform(0, 2 * math.pi, *shape), near)


def _steps(shape: tuple[int, int], dice: Dice) -> Tensor:
    """Uneven steps: a ramp (one end wider) and a change of pace somewhere along the stroke."""
    along = torch.linspace(-1, 1, JOINTS, device=dice.generator.device)
    change = dice.normal(0.3, *shape, 1) * torch.sign(along - dice.uniform(-0.8, 0.8, *shape, 1))
    return torch.exp(dice.normal(0.2, *shape, 1) * along + change)


def _anchors(weights: tuple[float, ...], shape: tuple[int, int], dice: Dice) -> Tensor:
    """Start, end, middle, or anywhere on a stroke, as 0..1."""
    kind = dice.pick(weights, *shape)
    fixed = torch.tensor([0.0, 1.0, 0.5, 0.0], device=kind.device)[kind]
    return torch.where(kind == 3, dice.uniform(0, 1, *shape), fixed)


def _alive(classes: int, strokes: int, dice: Dice) -> Tensor:
    """How many strokes each class has: [classes, strokes], true for the first few."""
    weights = tuple(n**1.5 * math.exp(-0.9 * n) for n in range(1, strokes + 1))
    return torch.arange(strokes, device=dice.generator.device) <= dice.pick(weights, classes, 1)


def _resize(program: Program, dice: Dice) -> Program:
    """Give each stroke its own extent: the first is the largest, a few later ones are dots."""
    extent = (program.alive.shape[0], program.strokes)
    drawn = local_points(program)
    now = (drawn.amax(2) - drawn.amin(2)).amax(-1)
    later = torch.arange(program.strokes, device=now.device) > 0
    wanted = torch.exp(dice.normal(0.35, *extent)) * torch.where(later, 0.65, 1.0)
    wanted = torch.where(later & dice.chance(0.07, *extent), 0.03, wanted)
    return replace(program, step=program.step * (wanted / now.clamp_min(1e-3)).unsqueeze(-1))


def _repeat_strokes(program: Program, share: float, dice: Dice) -> Program:
    """Some strokes repeat an earlier one: side by side, mirrored, or mirrored from the same joint."""
    host = program.host
    shape = (program.rows, program.strokes)
    copy = dice.chance(share, *shape) & (torch.arange(program.strokes, device=host.device) > 0)
    mirror = dice.chance(0.5, *shape)
    turn, step = of_host(program.turn, host), of_host(program.step, host)
    turn = torch.where(mirror.unsqueeze(-1), -turn, turn)
    axis = torch.where(dice.chance(0.7, *shape), math.pi, 0.0)  # left-right mirrors are the more common
    turn[..., 0] = turn[..., 0] + torch.where(mirror, axis, 0.0)
    end = dice.pick((1.0, 1.0), *shape).float()
    side = dice.uniform(0, 2 * math.pi, *shape)
    apart = dice.uniform(0.25, 0.6, *shape).unsqueeze(-1) * torch.stack([side.cos(), side.sin()], -1)
    size = torch.where(dice.chance(0.3, *shape), dice.uniform(0.5, 0.9, *shape), 1.0)
    copied = replace(
        program,
        turn=turn,
        step=step * size.unsqueeze(-1),
        stretch=of_host(program.stretch, host),
        bend=of_host(program.bend, host),
        at=end,
        own=torch.where(mirror | dice.chance(0.7, *shape), end, 1 - end),
        gap=torch.where(mirror.unsqueeze(-1), 0.0, apart) * dice.chance(0.8, *shape, 1),
    )
    return copied.mixed(program, copy)


def _share_strokes(program: Program, share: float, dice: Dice) -> Program:
    """Some classes begin like the class before them and differ from a later stroke on."""
    neighbour = program.take(torch.arange(program.rows, device=program.host.device).roll(1))
    count = program.alive.sum(1)
    # always less than count: one stroke is its own
    shared = (dice.uniform(0, 1, program.rows) * count).long()
    shared = torch.minimum(shared, neighbour.alive.sum(1)) * dice.chance(share, program.rows)
    keep = torch.arange(program.strokes, device=count.device) >= shared.unsqueeze(1)
    return program.mixed(neighbour, keep)


def _frame(program: Program, dice: Dice) -> Program:
    """Where the class sits on an uncropped page, and how large, found by a run without noise."""
    low, high = bounds(trace(program), program.alive)
    height = dice.normal(0.13, program.rows, 1).add(0.64).clamp(0.25, 0.88)
    scale = height / (high - low).amax(1, keepdim=True).clamp_min(0.05)
    aspect = dice.normal(0.12, program.rows, 1)
    scales = torch.cat([scale * aspect.exp(), scale * (-aspect).exp()], 1)
    centre = dice.normal(0.04, program.rows, 2) + 0.5
    return replace(program, frame=torch.cat([scales, centre, (low + high) / 2], 1).unsqueeze(1))
