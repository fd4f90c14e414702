"""A character as a program, and its run: a few strokes, each a turtle walk that is joined to an earlier stroke."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

JOINTS = 8  # steps of the turtle walk of one stroke
SAMPLES = 32  # points at which one stroke is traced


@dataclass(frozen=True)
class Program:
    """Strokes of many classes (or drawings); every tensor starts with [rows, strokes]. Angles in radians, y down."""

    turn: Tensor  # [rows, strokes, JOINTS] turn before each step; the first one is the heading
    step: Tensor  # [rows, strokes, JOINTS] length of each step
    stretch: Tensor  # [rows, strokes] width over height, as a logarithm
    bend: Tensor  # [rows, strokes] 0 = sharp corners, 1 = a smooth curve
    host: Tensor  # [rows, strokes] the earlier stroke this one is joined to
    at: Tensor  # [rows, strokes] where on the host, 0..1
    own: Tensor  # [rows, strokes] which point of this stroke is joined, 0..1
    gap: Tensor  # [rows, strokes, 2] offset of the join
    alive: Tensor  # [rows, strokes] bool, false where the class has fewer strokes
    frame: Tensor  # [rows, 1, 6] page: scale x, scale y, centre x, y in 0..1; centre of the ink x, y

    @property
    def rows(self) -> int:
        return len(self.turn)

    @property
    def strokes(self) -> int:
        return self.turn.shape[1]

    def take(self, rows: Tensor) -> Program:
        return Program(*(getattr(self, field.name)[rows] for field in fields(self)))

    def mixed(self, other: Program, keep: Tensor) -> Program:
        """This program's stroke where `keep` [rows, strokes] holds, the other's elsewhere."""

        def mix(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(keep.view(*keep.shape, *[1] * (mine.dim() - 2)), mine, theirs)

        pairs = {
            f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "frame"
        }
        return replace(self, **{name: mix(mine, theirs) for name, (mine, theirs) in pairs.items()})


def trace(program: Program) -> Tensor:
    """Points of all strokes, joined: [rows, strokes, SAMPLES, 2]."""
    local = local_points(program)
    shift = _point(of_host(local, program.host), program.at) + program.gap - _point(local, program.own)
    origin = torch.zeros_like(shift)
    for stroke in range(1, program.strokes):  # a host always comes earlier
        host = program.host[:, stroke, None, None].expand(-1, 1, 2)
        origin[:, stroke] = origin.gather(1, host).squeeze(1) + shift[:, stroke]
    return local + origin.unsqueeze(2)


def local_points(program: Program) -> Tensor:
    """Points of each stroke about its own start: [rows, strokes, SAMPLES, 2]."""
    angle = program.turn.cumsum(-1)
    wide = (program.stretch / 2).unsqueeze(-1)
    step = torch.stack(
        [program.step * angle.cos() * wide.exp(), program.step * angle.sin() * (-wide).exp()], -1
    )
    control = F.pad(step.cumsum(2), (0, 0, 1, 0))
    sharp, smooth = (basis.to(control) @ control for basis in _bases())
    return torch.lerp(sharp, smooth, program.bend[..., None, None])


def _bases() -> tuple[Tensor, Tensor]:
    """Maps [SAMPLES, JOINTS + 1] from turning points to a polyline and to a uniform cubic B-spline."""
    where = torch.linspace(0, JOINTS, SAMPLES).unsqueeze(1)
    sharp = (1 - (where - torch.arange(JOINTS + 1)).abs()).clamp_min(0)
    away = (where - torch.arange(-1, JOINTS + 2)).abs()
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp_min(0) ** 3 / 6
    spline = torch.where(away < 1, near, far)
    smooth = spline[:, 1:-1].clone()
    for edge, inner, outside in ((0, 1, 0), (-1, -2, -1)):  # points beyond the ends continue straight
        smooth[:, edge] += 2 * spline[:, outside]
        smooth[:, inner] -= spline[:, outside]
    return sharp, smooth


def of_host(values: Tensor, host: Tensor) -> Tensor:
    """Per stroke, the values [rows, strokes, ...] of its host stroke."""
    index = host.view(*host.shape, *[1] * (values.dim() - 2)).expand_as(values)
    return values.gather(1, index)


def _point(strokes: Tensor, along: Tensor) -> Tensor:
    """The point [rows, strokes, 2] at a share 0..1 of each stroke."""
    index = (along * (SAMPLES - 1)).round().long()
    return strokes.gather(2, index[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)


def bounds(ink: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest coordinates of living strokes, each [rows, 2]."""
    dead = ~alive[..., None, None]
    low = ink.masked_fill(dead, torch.inf).amin((1, 2))
    return low, ink.masked_fill(dead, -torch.inf).amax((1, 2))
