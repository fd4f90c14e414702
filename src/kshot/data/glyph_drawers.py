"""Drawers: how each runs the program of a class a little differently, and where the drawing comes to lie on the page."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from kshot.data.dice import Dice
from kshot.data.glyph_programs import JOINTS, Program, bounds


def vary(program: Program, wobble: float, dice: Dice) -> Program:
    """The program as one drawer runs it: other turns, steps, corners and joints."""
    shape = (program.rows, program.strokes)
    care = torch.exp(dice.normal(0.4, program.rows, 1)) * wobble  # some drawers are careless
    noise = care.unsqueeze(-1)
    turn = program.turn * (1 + 0.1 * noise * dice.normal(1.0, *shape, 1))
    turn = turn + 0.05 * noise * dice.normal(1.0, *shape, JOINTS)
    turn[..., 0] = program.turn[..., 0] + 0.08 * care * dice.normal(1.0, *shape)
    step = noise * (dice.normal(0.12, *shape, JOINTS) + dice.normal(0.1, *shape, 1))
    return replace(
        program,
        turn=turn,
        step=program.step * step.exp(),
        stretch=program.stretch + care * dice.normal(0.12, *shape),
        bend=(program.bend + dice.normal(0.2, program.rows, 1) + dice.normal(0.15, *shape)).clamp(0, 1),
        at=(program.at + care * dice.normal(0.05, *shape)).clamp(0, 1),
        own=(program.own + care * dice.normal(0.05, *shape)).clamp(0, 1),
        gap=program.gap * (1 + noise * dice.normal(0.15, *shape, 1)) + noise * dice.normal(0.035, *shape, 2),
        alive=program.alive & ~_forgotten(program, 0.01 * wobble, dice),
    )


def _forgotten(program: Program, share: float, dice: Dice) -> Tensor:
    """Strokes a drawer leaves out, never the first and only where the class has three or more."""
    spare = (program.alive.sum(1, keepdim=True) > 2) & (
        torch.arange(program.strokes, device=program.turn.device) > 0
    )
    return spare & dice.chance(share, program.rows, program.strokes)


def place(ink: Tensor, program: Program, scanned: Tensor, wobble: float, dice: Dice) -> Tensor:
    """Slant, warp and put the strokes on a page that runs from 0 to 1."""
    frame = program.frame.squeeze(1)
    ink = (ink - frame[:, None, None, 4:]) * frame[:, None, None, :2]
    ink = _warp(_slant(ink, wobble, dice), wobble, dice)
    low, high = bounds(ink, program.alive)
    loose_size, loose_centre = _by_hand(frame[:, 2:4] + (low + high) / 2, high - low, wobble, dice)
    tight_size, tight_centre = _by_scanner(high - low, dice)
    tight = (torch.where(scanned, 0.75, 0.08) > dice.uniform(0, 1, program.rows)).unsqueeze(1)
    size = torch.where(tight, tight_size, loose_size)
    centre = torch.where(tight, tight_centre, loose_centre)
    return (ink - ((low + high) / 2)[:, None, None]) * size[:, None, None] + centre[:, None, None]


def _by_hand(centre: Tensor, extent: Tensor, wobble: float, dice: Dice) -> tuple[Tensor, Tensor]:
    """Scale and centre, each [rows, 2], of a drawing put on the page by hand: loosely, but inside it."""
    size = torch.exp(dice.normal(0.15 * wobble, len(extent), 1))
    size = torch.minimum(size, 0.88 / extent.clamp_min(0.05)).amin(1, keepdim=True).expand(-1, 2)
    half = (extent * size).clamp_max(0.88) / 2 + 0.05
    centre = centre + dice.normal(0.04 * wobble, *centre.shape)
    return size, torch.minimum(torch.maximum(centre, half), 1 - half)


def _by_scanner(extent: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Scale and centre, each [rows, 2], of a drawing cropped to its ink, so that it fills the page."""
    rows = len(extent)
    fill = dice.uniform(0.7, 1.0, rows, 1)
    even = fill / extent.amax(1, keepdim=True).clamp_min(0.05)
    narrow = torch.exp(dice.normal(0.12, rows, 1)).clamp_max(1.0)  # writing boxes are rather tall
    return torch.cat([even * narrow, even], 1), 0.5 + dice.normal(0.015, rows, 2)


def _slant(ink: Tensor, wobble: float, dice: Dice) -> Tensor:
    """A small rotation, shear and stretch per drawing."""
    rows = len(ink)
    angle, shear, aspect = (
        dice.normal(0.1 * wobble, rows),
        dice.normal(0.18 * wobble, rows),
        dice.normal(0.13 * wobble, rows),
    )
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    lean = torch.stack(
        [torch.stack([aspect.exp(), -shear], -1), torch.stack([shear * 0, (-aspect).exp()], -1)], -2
    )
    return ink @ (turn @ lean).mT.unsqueeze(1)


def _warp(ink: Tensor, wobble: float, dice: Dice) -> Tensor:
    """A slow wave through the page, different along x and y."""
    rows = len(ink)
    rate = dice.normal(4.0, rows, 1, 2, 2)
    phase = dice.uniform(0, 2 * math.pi, rows, 1, 1, 2)
    wave = torch.sin(ink @ rate + phase)
    return ink + wave * dice.normal(0.03 * wobble, rows, 1, 1, 2)
