"""Pictures that kshot draws itself: coloured things of many kinds on many grounds, each with its box.

They train the bundled detector "scenes", which has seen nothing else: what a thing is (closed, of one make, unlike its
ground) can be learned without a single photograph. A class is a recipe (outline, colours, texture, parts, size); a
thing is one run of it, turned, scaled, lit and partly covered anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.data.glyphs import GlyphFamily
from kshot.errors import SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Boxes

_TRIES = 12
_CORE = 48
"""Side in pixels at which the inside of a thing is drawn before it is scaled."""


@dataclass(frozen=True)
class Scenes:
    """n-way detection tasks of drawn things.

    Args:
        size: sides of a picture in pixels.
        ways: classes of a task. pictures: support pictures. queries: query pictures.
        things: least and most things of a picture; one in three of its own classes' pictures is crowded.
        sides: least and most of the longer side of a thing, as a share of the picture.
        strangers: chance of each thing to be of no class of the task; `marked` gives it a box with the label None.

    >>> task = Scenes(size=64, ways=2, pictures=2, queries=1).sample(torch.Generator().manual_seed(0))
    >>> task.support.inputs.shape, len(task.query)
    (torch.Size([2, 3, 64, 64]), 1)
    """

    size: int = 160
    ways: int = 5
    pictures: int = 5
    queries: int = 5
    things: tuple[int, int] = (2, 7)
    sides: tuple[float, float] = (0.08, 0.5)
    strangers: float = 0.25
    marked: bool = True
    glyphs: GlyphFamily = field(default_factory=lambda: GlyphFamily(28, scan=0.0))

    def __post_init__(self) -> None:
        if self.size < 32 or self.ways < 1 or self.pictures < 1 or not 0 <= self.strangers <= 1:
            raise SettingError(
                f"size is {self.size}, ways {self.ways}, pictures {self.pictures}, strangers {self.strangers}; "
                "give at least 32, 1 and 1, and a share"
            )

    def using(self, **changes: Any) -> Scenes:
        """The same kind of scenes with other settings."""
        return replace(self, **changes)

    def sample(self, generator: torch.Generator) -> Task:
        dice = _Dice(generator)
        look = _Look.draw(dice)
        drawings = self.glyphs.draw(self.ways + 4, 3, generator).float() / 255
        recipes = [_Recipe.draw(dice, self.sides, drawings[n]) for n in range(self.ways + 4)]
        parts = []
        for count in (self.pictures, self.queries):
            made = [self._picture(dice, look, recipes, first % self.ways) for first in range(count)]
            parts.append(Examples(torch.stack([x for x, _ in made]), [y for _, y in made]))
        support, query = self._answerable(parts)
        names = {box[4] for boxes in support.targets for box in boxes if box[4] is not None}
        return Task(Boxes(tuple(sorted(names))), support, query, name="scenes")

    @staticmethod
    def _answerable(parts: list[Examples]) -> list[Examples]:
        """The query asks for no class that the support lacks: its things become strangers."""
        support, query = parts
        known = {box[4] for boxes in support.targets for box in boxes}
        told = [[(*box[:4], box[4] if box[4] in known else None) for box in boxes] for boxes in query.targets]
        return [support, Examples(query.inputs, told)]

    def _picture(
        self, dice: _Dice, look: _Look, recipes: list[_Recipe], first: int
    ) -> tuple[Tensor, list[Any]]:
        """A picture [3, size, size] in 0..1 that shows recipe `first`, and its boxes."""
        picture = look.ground(dice, self.size)
        count, boxes = dice.whole(*self.things), list[Any]()
        crowded = dice.chance(0.33)
        chosen = [first]
        while len(chosen) < (3 * count if crowded else count):
            stranger = dice.chance(self.strangers)
            chosen.append(
                dice.whole(self.ways, len(recipes) - 1) if stranger else dice.whole(0, self.ways - 1)
            )
        for which in chosen:
            box = recipes[which].put(dice, picture, look, boxes, 0.35 if crowded else 0.12)
            if box is not None:
                boxes.append((*box, which if which < self.ways else None))
        picture = look.shot(dice, picture)
        return picture, [box for box in boxes if self.marked or box[4] is not None]


@dataclass(frozen=True)
class _Dice:
    generator: torch.Generator

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(torch.rand((), generator=self.generator)) * (high - low) + low

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, share: float) -> bool:
        return self.real() < share

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def colour(self) -> Tensor:
        """A colour [3, 1, 1], grey one time in four."""
        made = torch.rand(3, 1, 1, generator=self.generator)
        return made.mean().expand(3, 1, 1).clone() if self.chance(0.25) else made

    def noise(self, size: int, cells: int, channels: int = 1) -> Tensor:
        """Smooth noise [channels, size, size] of about unit spread, `cells` bumps along a side."""
        rough = self.normal(1, channels, cells + 1, cells + 1)
        return F.interpolate(rough, (size, size), mode="bicubic", align_corners=True)[0]


@dataclass(frozen=True)
class _Look:
    """What the pictures of one task share: a kind of ground, light and sharpness."""

    kind: int
    base: Tensor
    other: Tensor
    grain: float
    cells: int

    @classmethod
    def draw(cls, dice: _Dice) -> _Look:
        base = dice.colour()
        other = base + 0.35 * (dice.colour() - base) if dice.chance(0.7) else dice.colour()
        return cls(dice.whole(0, 4), base, other, dice.real(0, 0.06), dice.whole(3, 24))

    def ground(self, dice: _Dice, size: int) -> Tensor:
        """Plain, cloudy, striped, woven or grainy, [3, size, size]."""
        along = torch.linspace(0, 1, size)
        y, x = torch.meshgrid(along, along, indexing="ij")
        angle, pace = dice.real(0, math.pi), dice.real(4, 30)
        way = math.cos(angle) * x + math.sin(angle) * y
        if self.kind == 0:
            mix = 0.3 * way[None]
        elif self.kind == 1:
            mix = 0.5 + 0.35 * dice.noise(size, self.cells)
        elif self.kind == 2:
            mix = 0.5 + 0.5 * torch.sin(pace * way + 0.8 * dice.noise(size, 5))
        elif self.kind == 3:
            mix = 0.5 + 0.25 * (torch.sin(2 * pace * x) + torch.sin(2 * pace * y))[None]
        else:
            mix = 0.5 + 0.2 * dice.noise(size, size // 4) + 0.2 * dice.noise(size, 4)
        return self.base + (self.other - self.base) * mix.clamp(0, 1)

    def shot(self, dice: _Dice, picture: Tensor) -> Tensor:
        """Light from a side, grain, now and then a blur."""
        size = picture.shape[-1]
        light = 1 + 0.25 * dice.real(-1, 1) * torch.linspace(-1, 1, size)
        picture = picture * (light if dice.chance(0.5) else light[:, None])
        if dice.chance(0.3):
            picture = F.avg_pool2d(F.pad(picture[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
        return (picture + self.grain * dice.normal(*picture.shape)).clamp(0, 1)


@dataclass(frozen=True)
class _Recipe:
    """A class of things."""

    outline: int
    ratio: float
    waves: Tensor
    colours: Tensor
    inside: int
    rim: float
    glyphs: Tensor
    side: float
    spread: float
    turns: bool
    clear: float

    @classmethod
    def draw(cls, dice: _Dice, sides: tuple[float, float], glyphs: Tensor) -> _Recipe:
        low, high = (math.log(side) for side in sides)
        return cls(
            outline=dice.whole(0, 3), ratio=math.exp(dice.real(-0.6, 0.6)), waves=0.09 * dice.normal(5, 2),
            colours=torch.stack([dice.colour() for _ in range(3)]), inside=dice.whole(0, 5),
            rim=dice.real(0.05, 0.25) if dice.chance(0.5) else 0.0, glyphs=glyphs,
            side=math.exp(dice.real(low, high)), spread=dice.real(0.05, 0.35), turns=dice.chance(0.6),
            clear=dice.real(0.0, 0.5) if dice.chance(0.25) else 0.0,
        )  # fmt: skip

    def put(
        self, dice: _Dice, picture: Tensor, look: _Look, boxes: list[Any], most: float
    ) -> tuple[int, ...] | None:
        """Draw one thing into the picture where it hardly covers others; its box, or None where there is no room."""
        colour, alpha = self._thing(dice)
        size = picture.shape[-1]
        longer = self.side * math.exp(self.spread * float(dice.normal(1))) * size
        scale = min(max(longer, 6.0), 0.9 * size) / max(alpha.shape)
        height, width = (max(4, round(side * scale)) for side in alpha.shape)
        drawn = F.interpolate(
            torch.cat([colour, alpha[None]])[None], (height, width), mode="bilinear", antialias=True
        )[0].clamp(0, 1)
        for _ in range(_TRIES):
            over = dice.chance(0.12)  # now and then beyond the edge
            reach = (width // 3, height // 3) if over else (0, 0)
            left = dice.whole(-reach[0], max(size - width + reach[0], 0))
            top = dice.whole(-reach[1], max(size - height + reach[1], 0))
            box = (max(left, 0), max(top, 0), min(left + width, size), min(top + height, size))
            if all(_covered(box, other) < most for other in boxes):
                part = picture[:, box[1] : box[3], box[0] : box[2]]
                own = drawn[:, box[1] - top : box[3] - top, box[0] - left : box[2] - left]
                part.lerp_(own[:3], own[3:] * (1 - self.clear))
                return box
        return None

    def _thing(self, dice: _Dice) -> tuple[Tensor, Tensor]:
        """Colours [3, h, w] and opacity [h, w] of one thing, cut to its outline."""
        size = _CORE
        turn = dice.real(0, 2 * math.pi) if self.turns else dice.real(-0.15, 0.15)
        along = torch.linspace(-1.25, 1.25, size)
        y, x = torch.meshgrid(along, along, indexing="ij")
        u = (math.cos(turn) * x + math.sin(turn) * y) * max(self.ratio, 1.0)
        v = (-math.sin(turn) * x + math.cos(turn) * y) * max(1 / self.ratio, 1.0)
        away = self._distance(dice, u, v)  # under 1 inside
        alpha = torch.sigmoid((1 - away) * size / 3)
        colour = self._filled(dice, u, v)
        if self.rim:
            edge = torch.sigmoid((away - 1 + self.rim) * size / 3)
            colour = colour + (self.colours[2] - colour) * edge
        rows = (alpha > 0.4).any(1).nonzero().flatten()
        columns = (alpha > 0.4).any(0).nonzero().flatten()
        if not len(rows) or not len(columns):
            return colour, alpha
        cut = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        return colour[:, cut[0], cut[1]], alpha[cut]

    def _distance(self, dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
        """1 on the outline: an oval, a box, a polygon, or a blob; a little different each time."""
        wobble = self.waves + 0.02 * dice.normal(5, 2)
        angle = torch.atan2(v, u)
        wave = sum(
            wobble[k, 0] * torch.cos((k + 2) * angle) + wobble[k, 1] * torch.sin((k + 2) * angle)
            for k in range(5)
        )
        radius = (u.square() + v.square()).sqrt()
        if self.outline == 0:
            return radius * (1 + 0.3 * wave)
        if self.outline == 1:
            return torch.maximum(u.abs(), v.abs()) * 1.05
        if self.outline == 2:
            corners = 3 + int(self.waves[0, 0].abs() * 50) % 4
            step = 2 * math.pi / corners
            return radius * torch.cos(torch.remainder(angle, step) - step / 2) / math.cos(step / 2)
        return radius * (1 + 1.3 * wave)

    def _filled(self, dice: _Dice, u: Tensor, v: Tensor) -> Tensor:
        """Plain, shaded, with a core, striped, spotted, or printed with a character: [3, size, size]."""
        one, two = self.colours[0], self.colours[1]
        one = one + 0.05 * dice.normal(3, 1, 1)
        radius = (u.square() + v.square()).sqrt()
        if self.inside == 1:
            mix = radius.clamp(0, 1)
        elif self.inside == 2:
            du, dv = (0.25 * dice.normal(2)).tolist()
            mix = torch.sigmoid(8 * (0.45 - ((u - du).square() + (v - dv).square()).sqrt()))
        elif self.inside == 3:
            mix = 0.5 + 0.5 * torch.sin(8 * u + dice.real(0, 6))
        elif self.inside == 4:
            mix = torch.sigmoid(5 * dice.noise(u.shape[0], 7)[0])
        elif self.inside == 5:
            places = torch.stack([u, v], -1)[None] * 1.3
            ink = self.glyphs[dice.whole(0, len(self.glyphs) - 1)]
            mix = F.grid_sample(ink[None, None], places, align_corners=False)[0, 0]
        else:
            mix = 0.15 * dice.noise(u.shape[0], 4)[0].clamp(-1, 1)
        return one + (two - one) * mix


def _covered(a: tuple[int, ...], b: tuple[Any, ...]) -> float:
    """Shared area over the smaller area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return float(max(width, 0) * max(height, 0) / max(smaller, 1))
