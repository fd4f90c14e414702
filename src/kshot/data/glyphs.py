"""Characters that kshot draws itself: an endless family of stroke glyphs for meta-training without data.

A class is a *program*: a few strokes, each a turtle walk (turns and step lengths) joined to an earlier stroke. A
drawing is one run of that program by a drawer who turns, walks and joins a little differently every time, with a
pen and a scanner of their own. Running the program again, rather than shaking finished points, keeps joints
joined, as in the generative model of Lake, Salakhutdinov and Tenenbaum (2015).

One file a step: write programs (`glyph_classes`, in the form of `glyph_programs`), vary them per drawer and place them
on the page (`glyph_drawers`), ink and scan (`glyph_rendering`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.data.dice import Dice
from kshot.data.glyph_classes import write_programs
from kshot.data.glyph_drawers import place, vary
from kshot.data.glyph_programs import Program, trace
from kshot.data.glyph_rendering import ink, scan
from kshot.errors import DataError

CHUNK = 256  # drawings rendered at once, which keeps their tensors to 17 MiB at 28 pixels


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
        dice = Dice(generator)
        program = write_programs(classes, self.strokes, self.copies, self.kin, dice)
        page = torch.empty(
            classes * drawings, self.size, self.size, dtype=torch.uint8, device=generator.device
        )
        for first in range(0, len(page), CHUNK):
            rows = torch.arange(first, min(first + CHUNK, len(page)), device=generator.device) // drawings
            page[first : first + CHUNK] = _draw_rows(self, program.take(rows), dice)
        return page.view(classes, drawings, self.size, self.size)


def _draw_rows(family: GlyphFamily, program: Program, dice: Dice) -> Tensor:
    """One drawing per program row: uint8 [rows, size, size]."""
    scanned = dice.chance(family.scan, program.rows)
    token = vary(program, family.wobble, dice)
    strokes = place(trace(token), token, scanned, family.wobble, dice)
    image = scan(ink(strokes, token.alive, scanned, family.size, dice), scanned, dice)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
