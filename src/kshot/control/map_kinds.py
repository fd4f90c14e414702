"""Maps of several kinds, drawn at random: arrays [size, size], true for free cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch


def below(high: int, generator: torch.Generator, low: int = 0) -> int:
    """A whole number from `low` to under `high`; `low` where there is none."""
    return int(torch.randint(low, max(high, low + 1), (), generator=generator))


def _forest(size: int, rng: torch.Generator) -> np.ndarray:
    """Round obstacles of any size, everywhere."""
    free = np.ones((size, size), dtype=bool)
    rows, columns = np.indices(free.shape)
    for _ in range(below(size // 2, rng, size // 4)):
        row, column, radius = below(size, rng), below(size, rng), below(size // 8, rng, 1)
        free[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = False
    return free


def _gaps(size: int, rng: torch.Generator) -> np.ndarray:
    """Thick walls from side to side, each with one gap."""
    free, column = np.ones((size, size), dtype=bool), 0
    while True:
        column += below(size // 3, rng, size // 8)
        thick = below(size // 8, rng, 1)
        if column + thick >= size - 1:
            break
        free[:, column : column + thick] = False
        wide = below(4, rng, 1)
        start = below(size - wide, rng)
        free[start : start + wide, column : column + thick] = True
        column += thick
    return _turned(free, rng)


def _traps(size: int, rng: torch.Generator) -> np.ndarray:
    """One or two cups, each open on one side."""
    free = np.ones((size, size), dtype=bool)
    for _ in range(below(3, rng, 1)):
        high, wide = (below(size // 2, rng, size // 5) for _ in range(2))
        row, column = below(size - high, rng), below(size - wide, rng)
        cup = free[row : row + high, column : column + wide]
        cup[[0, -1]] = False
        cup[:, -1] = False
        free = _turned(free, rng)
    return free


def _rooms(size: int, rng: torch.Generator) -> np.ndarray:
    """Rooms in rows and columns; each wall between two has a door, most of them open."""
    free = np.ones((size, size), dtype=bool)
    rows, columns = (_cuts(size, rng) for _ in range(2))
    free[rows], free[:, columns] = False, False
    for line, others in ((rows, columns), (columns, rows)):
        for cut in line:
            edges = [-1, *others, size]
            for start, end in itertools.pairwise(edges):
                door = below(end, rng, start + 1)
                if below(10, rng) < 8:
                    (free if line is rows else free.T)[cut, door] = True
    return free


def _cuts(size: int, rng: torch.Generator) -> list[int]:
    cuts: list[int] = []
    place = 0
    while True:
        place += below(size // 3, rng, size // 6)
        if place >= size - 2:
            return cuts
        cuts.append(place)
        place += 1


def _maze(size: int, rng: torch.Generator) -> np.ndarray:
    """Corridors two cells wide: a random tree over blocks of three cells, and a few more openings."""
    blocks = size // 3
    free = np.zeros((size, size), dtype=bool)
    seen, stack = {(0, 0)}, [(0, 0)]
    free[:2, :2] = True
    while stack:
        row, column = stack[-1]
        ways = [(row + a, column + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        ways = [w for w in ways if w not in seen and min(w) >= 0 and max(w) < blocks]
        if not ways:
            stack.pop()
            continue
        way = ways[below(len(ways), rng)]
        _dig(free, (row, column), way)
        seen.add(way)
        stack.append(way)
    for _ in range(blocks):
        row, column = below(blocks - 1, rng), below(blocks - 1, rng)
        _dig(free, (row, column), (row + 1, column) if below(2, rng) else (row, column + 1))
    return free


def _dig(free: np.ndarray, one: tuple[int, int], other: tuple[int, int]) -> None:
    low, high = (
        (3 * min(one[0], other[0]), 3 * min(one[1], other[1])),
        (
            3 * max(one[0], other[0]) + 2,
            3 * max(one[1], other[1]) + 2,
        ),
    )
    free[low[0] : high[0], low[1] : high[1]] = True


def _turned(free: np.ndarray, rng: torch.Generator) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(free, below(4, rng)))


KINDS: dict[str, Callable[[int, torch.Generator], np.ndarray]] = {
    "forest": _forest, "gaps": _gaps, "traps": _traps, "rooms": _rooms, "maze": _maze,
}  # fmt: skip
"""Families that kshot draws."""
