"""Characters that kshot draws itself: an endless family of stroke glyphs for meta-training without data.

A class is a *program*: a few strokes, each a turtle walk (turns and step lengths) joined to an earlier stroke. A
drawing is one run of that program by a drawer who turns, walks and joins a little differently every time, with a
pen and a scanner of their own. Running the program again, rather than shaking finished points, keeps joints
joined, as in the generative model of Lake, Salakhutdinov and Tenenbaum (2015).

The order of the file is the order of the work: write programs, vary them per drawer, trace the strokes, place them
on the page, ink them, scan the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError

JOINTS = 8  # steps of the turtle walk of one stroke
SAMPLES = 32  # points at which one stroke is traced
POINTS = 144  # points along all strokes of a drawing that leave ink
DRAFTS = 3  # programs written per class, of which the most legible stays
DOT = 1.5  # length of ink in a dot, in pixels of a 28-pixel page
GRID = 9  # cells along the page when legibility is judged
CHUNK = 256  # drawings rendered at once: bounds memory near 40 MB at 28 pixels


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


@dataclass(frozen=True)
class GlyphFamily:
    """An endless family of hand-drawn characters: every class and every drawing is new.

    The ideas are those of stroke programs (Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through
    probabilistic program induction, Science 2015); nothing is copied from a font or a data set.

    Classes are written from the generator before anything is drawn, so two families that differ only in knobs of
    drawing (`wobble`, `scan`) draw the same classes from the same generator state.

    Args:
        size: height and width of a drawing in pixels.
        strokes: the most strokes in a class, 1 or more.
        kin: share of classes that keep the first strokes of their neighbour: hard pairs.
        copies: chance that a stroke repeats or mirrors an earlier one.
        wobble: how much drawers differ; 0.9 is an ordinary crowd, 0 is a machine.
        scan: share of drawings that look scanned: thick pen, cropped to the ink, blurred, low resolution.

    Raises:
        DataError: a size, count or share is out of range.

    >>> family = GlyphFamily()
    >>> family.draw(3, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2, 28, 28])
    """

    size: int = 28
    strokes: int = 6
    kin: float = 0.25
    copies: float = 0.3
    wobble: float = 0.9
    scan: float = 0.5

    def __post_init__(self) -> None:
        for name, low in (("size", 8), ("strokes", 1), ("wobble", 0)):
            if getattr(self, name) < low:
                raise DataError(
                    f"{name} is {getattr(self, name)}; it must be at least {low}: pass {name}={low} or more"
                )
        for name in ("kin", "copies", "scan"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}; it is a share: pass a number from 0 to 1")

    def draw(self, classes: int, drawings: int, generator: torch.Generator) -> Tensor:
        """Draw new classes.

        Args:
            classes: how many classes, 1 or more.
            drawings: how many drawings of each, each by a drawer of its own, 1 or more.
            generator: the only source of randomness; the same state gives the same bytes.

        Returns:
            uint8 `[classes, drawings, size, size]`, ink bright (255) on black (0).

        Raises:
            DataError: a count below 1.
        """
        for name, count in (("classes", classes), ("drawings", drawings)):
            if count < 1:
                raise DataError(f"{name} is {count}; it must be at least 1: ask for one or more")
        dice = _Dice(generator)
        program = _write_programs(self, classes, dice)
        page = torch.empty(
            classes * drawings, self.size, self.size, dtype=torch.uint8, device=generator.device
        )
        for first in range(0, len(page), CHUNK):
            rows = torch.arange(first, min(first + CHUNK, len(page)), device=generator.device) // drawings
            page[first : first + CHUNK] = _draw_rows(self, program.take(rows), dice)
        return page.view(classes, drawings, self.size, self.size)


def _draw_rows(family: GlyphFamily, program: _Program, dice: _Dice) -> Tensor:
    """One drawing per program row: uint8 [rows, size, size]."""
    scanned = dice.chance(family.scan, program.rows)
    token = _vary(program, family.wobble, dice)
    ink = _trace(token)
    ink = _place(ink, token, scanned, family.wobble, dice)
    image = _ink(ink, token, scanned, family.size, dice)
    image = _scan(image, scanned, dice)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


@dataclass(frozen=True)
class _Dice:
    """Random numbers from one generator, on its device."""

    generator: torch.Generator

    def normal(self, spread: float, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device) * spread

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device) * (high - low) + low

    def chance(self, share: float, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < share

    def pick(self, weights: tuple[float, ...], *shape: int) -> Tensor:
        """Indices drawn in proportion to the weights."""
        edges = torch.tensor(weights, device=self.generator.device).cumsum(0)
        drawn = self.uniform(0, float(edges[-1]), *shape)
        return torch.bucketize(drawn, edges, right=True).clamp_max(len(weights) - 1)


@dataclass(frozen=True)
class _Program:
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

    def take(self, rows: Tensor) -> _Program:
        return _Program(*(getattr(self, field.name)[rows] for field in fields(self)))

    def mixed(self, other: _Program, keep: Tensor) -> _Program:
        """This program's stroke where `keep` [rows, strokes] holds, the other's elsewhere."""

        def mix(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(keep.view(*keep.shape, *[1] * (mine.dim() - 2)), mine, theirs)

        pairs = {
            f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "frame"
        }
        return replace(self, **{name: mix(mine, theirs) for name, (mine, theirs) in pairs.items()})


def _write_programs(family: GlyphFamily, classes: int, dice: _Dice) -> _Program:
    """New classes: strokes, joints, repeats, shared parts and a place on the page."""
    program = _write_strokes(classes * DRAFTS, family.strokes, dice)
    program = _legible(_repeat_strokes(program, family.copies, dice))
    program = _share_strokes(program, family.kin, dice)
    return _frame(program, dice)


def _legible(drafts: _Program) -> _Program:
    """The draft of each class that covers most page for its ink: scripts avoid strokes that crowd each other."""
    cell = _trace(drafts)
    low, high = _bounds(cell, drafts.alive)
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


def _write_strokes(classes: int, strokes: int, dice: _Dice) -> _Program:
    shape = (classes, strokes)
    turn, bend = _walks(shape, dice)
    program = _Program(
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


def _walks(shape: tuple[int, int], dice: _Dice) -> tuple[Tensor, Tensor]:
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


def _headings(shape: tuple[int, int], dice: _Dice) -> Tensor:
    """Down and across are common, slants less so, anything now and then."""
    eighth = dice.pick((3.0, 1.0, 4.0, 1.0, 1.0, 0.5, 1.0, 0.5), *shape) * (math.pi / 4)
    near = eighth + dice.normal(0.12, *shape)
    return torch.where(dice.chance(0.3, *shape), dice.uniform(0, 2 * math.pi, *shape), near)


def _steps(shape: tuple[int, int], dice: _Dice) -> Tensor:
    """Uneven steps: a ramp (one end wider) and a change of pace somewhere along the stroke."""
    along = torch.linspace(-1, 1, JOINTS, device=dice.generator.device)
    change = dice.normal(0.3, *shape, 1) * torch.sign(along - dice.uniform(-0.8, 0.8, *shape, 1))
    return torch.exp(dice.normal(0.2, *shape, 1) * along + change)


def _anchors(weights: tuple[float, ...], shape: tuple[int, int], dice: _Dice) -> Tensor:
    """Start, end, middle, or anywhere on a stroke, as 0..1."""
    kind = dice.pick(weights, *shape)
    fixed = torch.tensor([0.0, 1.0, 0.5, 0.0], device=kind.device)[kind]
    return torch.where(kind == 3, dice.uniform(0, 1, *shape), fixed)


def _alive(classes: int, strokes: int, dice: _Dice) -> Tensor:
    """How many strokes each class has: [classes, strokes], true for the first few."""
    weights = tuple(n**1.5 * math.exp(-0.9 * n) for n in range(1, strokes + 1))
    return torch.arange(strokes, device=dice.generator.device) <= dice.pick(weights, classes, 1)


def _resize(program: _Program, dice: _Dice) -> _Program:
    """Give each stroke its own extent: the first is the largest, a few later ones are dots."""
    extent = (program.alive.shape[0], program.strokes)
    drawn = _local(program)
    now = (drawn.amax(2) - drawn.amin(2)).amax(-1)
    later = torch.arange(program.strokes, device=now.device) > 0
    wanted = torch.exp(dice.normal(0.35, *extent)) * torch.where(later, 0.65, 1.0)
    wanted = torch.where(later & dice.chance(0.07, *extent), 0.03, wanted)
    return replace(program, step=program.step * (wanted / now.clamp_min(1e-3)).unsqueeze(-1))


def _repeat_strokes(program: _Program, share: float, dice: _Dice) -> _Program:
    """Some strokes repeat an earlier one: side by side, mirrored, or mirrored from the same joint."""
    host = program.host
    shape = (program.rows, program.strokes)
    copy = dice.chance(share, *shape) & (torch.arange(program.strokes, device=host.device) > 0)
    mirror = dice.chance(0.5, *shape)
    turn, step = _of_host(program.turn, host), _of_host(program.step, host)
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
        stretch=_of_host(program.stretch, host),
        bend=_of_host(program.bend, host),
        at=end,
        own=torch.where(mirror | dice.chance(0.7, *shape), end, 1 - end),
        gap=torch.where(mirror.unsqueeze(-1), 0.0, apart) * dice.chance(0.8, *shape, 1),
    )
    return copied.mixed(program, copy)


def _share_strokes(program: _Program, share: float, dice: _Dice) -> _Program:
    """Some classes begin like the class before them and differ from a later stroke on."""
    neighbour = program.take(torch.arange(program.rows, device=program.host.device).roll(1))
    count = program.alive.sum(1)
    shared = (
        dice.uniform(0, 1, program.rows) * count
    ).long()  # always less than count: one stroke is its own
    shared = torch.minimum(shared, neighbour.alive.sum(1)) * dice.chance(share, program.rows)
    keep = torch.arange(program.strokes, device=count.device) >= shared.unsqueeze(1)
    return program.mixed(neighbour, keep)


def _frame(program: _Program, dice: _Dice) -> _Program:
    """Where the class sits on an uncropped page, and how large, found by a run without noise."""
    low, high = _bounds(_trace(program), program.alive)
    height = dice.normal(0.13, program.rows, 1).add(0.64).clamp(0.25, 0.88)
    scale = height / (high - low).amax(1, keepdim=True).clamp_min(0.05)
    aspect = dice.normal(0.12, program.rows, 1)
    scales = torch.cat([scale * aspect.exp(), scale * (-aspect).exp()], 1)
    centre = dice.normal(0.04, program.rows, 2) + 0.5
    return replace(program, frame=torch.cat([scales, centre, (low + high) / 2], 1).unsqueeze(1))


def _vary(program: _Program, wobble: float, dice: _Dice) -> _Program:
    """The program as one drawer runs it: other turns, steps, corners and joints."""
    shape = (program.rows, program.strokes)
    care = torch.exp(dice.normal(0.4, program.rows, 1)) * wobble  # some drawers are careless
    noise = care.unsqueeze(-1)
    turn = program.turn * (1 + 0.1 * noise * dice.normal(1.0, *shape, 1)) + 0.05 * noise * dice.normal(
        1.0, *shape, JOINTS
    )
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


def _forgotten(program: _Program, share: float, dice: _Dice) -> Tensor:
    """Strokes a drawer leaves out, never the first and only where the class has three or more."""
    spare = (program.alive.sum(1, keepdim=True) > 2) & (
        torch.arange(program.strokes, device=program.turn.device) > 0
    )
    return spare & dice.chance(share, program.rows, program.strokes)


def _local(program: _Program) -> Tensor:
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


def _trace(program: _Program) -> Tensor:
    """Points of all strokes, joined: [rows, strokes, SAMPLES, 2]."""
    local = _local(program)
    shift = _point(_of_host(local, program.host), program.at) + program.gap - _point(local, program.own)
    origin = torch.zeros_like(shift)
    for stroke in range(1, program.strokes):  # a host always comes earlier
        host = program.host[:, stroke, None, None].expand(-1, 1, 2)
        origin[:, stroke] = origin.gather(1, host).squeeze(1) + shift[:, stroke]
    return local + origin.unsqueeze(2)


def _of_host(values: Tensor, host: Tensor) -> Tensor:
    """Per stroke, the values [rows, strokes, ...] of its host stroke."""
    index = host.view(*host.shape, *[1] * (values.dim() - 2)).expand_as(values)
    return values.gather(1, index)


def _point(strokes: Tensor, along: Tensor) -> Tensor:
    """The point [rows, strokes, 2] at a share 0..1 of each stroke."""
    index = (along * (SAMPLES - 1)).round().long()
    return strokes.gather(2, index[..., None, None].expand(-1, -1, 1, 2)).squeeze(2)


def _bounds(ink: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest coordinates of living strokes, each [rows, 2]."""
    dead = ~alive[..., None, None]
    low = ink.masked_fill(dead, torch.inf).amin((1, 2))
    return low, ink.masked_fill(dead, -torch.inf).amax((1, 2))


def _place(ink: Tensor, program: _Program, scanned: Tensor, wobble: float, dice: _Dice) -> Tensor:
    """Slant, warp and put the strokes on a page that runs from 0 to 1."""
    frame = program.frame.squeeze(1)
    ink = (ink - frame[:, None, None, 4:]) * frame[:, None, None, :2]
    ink = _warp(_slant(ink, wobble, dice), wobble, dice)
    low, high = _bounds(ink, program.alive)
    loose_size, loose_centre = _by_hand(frame[:, 2:4] + (low + high) / 2, high - low, wobble, dice)
    tight_size, tight_centre = _by_scanner(high - low, dice)
    tight = (torch.where(scanned, 0.75, 0.08) > dice.uniform(0, 1, program.rows)).unsqueeze(1)
    size = torch.where(tight, tight_size, loose_size)
    centre = torch.where(tight, tight_centre, loose_centre)
    return (ink - ((low + high) / 2)[:, None, None]) * size[:, None, None] + centre[:, None, None]


def _by_hand(centre: Tensor, extent: Tensor, wobble: float, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Scale and centre, each [rows, 2], of a drawing put on the page by hand: loosely, but inside it."""
    size = torch.exp(dice.normal(0.15 * wobble, len(extent), 1))
    size = torch.minimum(size, 0.88 / extent.clamp_min(0.05)).amin(1, keepdim=True).expand(-1, 2)
    half = (extent * size).clamp_max(0.88) / 2 + 0.05
    centre = centre + dice.normal(0.04 * wobble, *centre.shape)
    return size, torch.minimum(torch.maximum(centre, half), 1 - half)


def _by_scanner(extent: Tensor, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Scale and centre, each [rows, 2], of a drawing cropped to its ink, so that it fills the page."""
    rows = len(extent)
    fill = dice.uniform(0.7, 1.0, rows, 1)
    even = fill / extent.amax(1, keepdim=True).clamp_min(0.05)
    narrow = torch.exp(dice.normal(0.12, rows, 1)).clamp_max(1.0)  # writing boxes are rather tall
    return torch.cat([even * narrow, even], 1), 0.5 + dice.normal(0.015, rows, 2)


def _slant(ink: Tensor, wobble: float, dice: _Dice) -> Tensor:
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


def _warp(ink: Tensor, wobble: float, dice: _Dice) -> Tensor:
    """A slow wave through the page, different along x and y."""
    rows = len(ink)
    rate = dice.normal(4.0, rows, 1, 2, 2)
    phase = dice.uniform(0, 2 * math.pi, rows, 1, 1, 2)
    wave = torch.sin(ink @ rate + phase)
    return ink + wave * dice.normal(0.03 * wobble, rows, 1, 1, 2)


def _ink(ink: Tensor, program: _Program, scanned: Tensor, size: int, dice: _Dice) -> Tensor:
    """Brightness [rows, size, size] of the strokes under a pen of random width and edge."""
    unit = size / 28  # widths are stated in pixels of a 28-pixel page
    distance = _distance(*_spread(ink * size, program.alive, size, dice), size, 0.7 * unit)
    rows = len(ink)
    thin = torch.exp(dice.normal(0.25, rows)) * 0.68
    thick = dice.uniform(1.0, 2.6, rows)
    radius = (torch.where(scanned, thick, thin) * unit)[:, None, None]
    rough = _smooth_noise(rows, size, dice) * dice.uniform(0, 0.25, rows, 1, 1)
    edge = dice.uniform(1.0, 1.8, rows, 1, 1) * unit
    return ((radius * (1 + rough) - distance) / edge + 0.5).clamp(0, 1)


def _spread(ink: Tensor, alive: Tensor, size: int, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Points [rows, POINTS, 2] at equal spacing along all living strokes, and the ink each leaves [rows, POINTS]."""
    rows, strokes = alive.shape
    move = (ink[:, :, 1:] - ink[:, :, :-1]).norm(
        dim=-1
    ) + DOT * size / 28 / SAMPLES  # a dot still makes a mark
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


def _smooth_noise(rows: int, size: int, dice: _Dice) -> Tensor:
    """Blotches of unit spread and about a fifth of the page: [rows, size, size]."""
    return F.interpolate(dice.normal(1.0, rows, 1, 7, 7), (size, size), mode="bilinear").squeeze(1)


def _scan(image: Tensor, scanned: Tensor, dice: _Dice) -> Tensor:
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
