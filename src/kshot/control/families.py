"""Families of maps: drawn by kshot, or read from the planning datasets of Neural A*; and tasks made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kshot.control.cost_to_go import UNKNOWN, CostToGo
from kshot.control.grids import Grid
from kshot.control.maps import goal_of, planes
from kshot.errors import DataError, SettingError, TaskError
from kshot.tasks import Examples, Task

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Family:
    """Solved maps of one kind.

    Attributes:
        name: for people.
        maps: in raw form, [n, 2, height, width]: see `MapEncoder`.
        fields: exact cost to go, [n, height, width]; -1 for walls and where there is no way.
    """

    name: str
    maps: Tensor
    fields: Tensor

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or self.maps[:, 0].shape != self.fields.shape:
            raise DataError(
                f"family {self.name!r} has maps of shape {tuple(self.maps.shape)} and fields of shape "
                f"{tuple(self.fields.shape)}; give [n, 2, height, width] and [n, height, width]"
            )

    def __len__(self) -> int:
        return len(self.maps)

    def take(self, places: Sequence[int]) -> Family:
        """The maps at `places`."""
        rows = torch.as_tensor(list(places), dtype=torch.long)
        return replace(self, maps=self.maps[rows], fields=self.fields[rows])

    def problem(self, place: int) -> tuple[Grid, tuple[int, int]]:
        """One map and its goal."""
        cost, _ = raw = self.maps[place]
        return Grid(np.where(cost.numpy() > 0, cost.numpy(), np.inf)), goal_of(raw)

    def with_goals(self, count: int, generator: torch.Generator) -> Family:
        """Each map also with `count` other goals, drawn among its free cells, solved anew."""
        solved = [
            _solved(self.problem(place)[0], generator) for place in range(len(self)) for _ in range(count)
        ]
        more, fields = (torch.stack(column) for column in zip(*solved, strict=True))
        return replace(self, maps=torch.cat([self.maps, more]), fields=torch.cat([self.fields, fields]))

    def identity(self) -> dict[str, object]:
        """For a training folder: which maps these are."""
        return {"kind": "Family", "name": self.name, "maps": len(self), "sum": float(self.fields.sum())}


def planning_dataset(path: str | Path, split: str = "train") -> Family:
    """A family of the planning datasets of Neural A*, repacked: `SPLIT_map` bit-packed with 1 for free cells,
    `SPLIT_goal` flat indices, `SPLIT_dist` negative costs to go, -1024 where there is no way.

    Raises:
        DataError: no such file, another layout, or an unknown split.
    """
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
    place = Path(path)
    try:
        with np.load(place, allow_pickle=False) as file:
            bits, goals, told = (file[f"{split}_{name}"] for name in ("map", "goal", "dist"))
        free = np.unpackbits(bits, axis=1)[:, : told[0].size].reshape(told.shape)
    except FileNotFoundError:
        raise DataError(f"{place} does not exist; check the path") from None
    except (KeyError, ValueError, OSError, IndexError) as cause:
        raise DataError(
            f"{place} is no planning dataset ({cause}); it holds {split}_map, _goal and _dist"
        ) from cause
    maps = torch.zeros(len(free), 2, *told.shape[1:])
    maps[:, 0] = torch.as_tensor(free.astype(np.float32))
    maps[:, 1].flatten(1)[torch.arange(len(goals)), torch.as_tensor(goals.astype(np.int64))] = 1
    far = torch.as_tensor(-told.astype(np.float32))
    return Family(place.stem, maps, torch.where(far < 1000, far, torch.full_like(far, UNKNOWN)))


def draw_family(kind: str, count: int, generator: torch.Generator, size: int = 32) -> Family:
    """`count` maps of a kind that kshot draws itself, solved.

    Args:
        kind: one of `KINDS`. size: rows and columns.

    Raises:
        SettingError: an unknown kind, or a size under 8.

    >>> draw_family("rooms", 2, torch.Generator().manual_seed(0), size=16).fields.shape
    torch.Size([2, 16, 16])
    """
    if kind not in KINDS:
        raise SettingError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
    if size < 8 or count < 1:
        raise SettingError(f"size is {size} and count {count}; give at least 8 cells and 1 map")
    solved = [_solved(Grid.of(KINDS[kind](size, generator)), generator) for _ in range(count)]
    maps, fields = (torch.stack(column) for column in zip(*solved, strict=True))
    return Family(kind, maps, fields)


def _solved(grid: Grid, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A map with a goal drawn among the free cells, and its field."""
    places = np.flatnonzero(grid.free)
    goal = divmod(int(places[_below(len(places), generator)]), grid.shape[1])
    field = torch.as_tensor(grid.cost_to_go(goal), dtype=torch.float32)
    return planes(grid, goal), torch.where(torch.isfinite(field), field, torch.full_like(field, UNKNOWN))


def _below(high: int, generator: torch.Generator, low: int = 0) -> int:
    return int(torch.randint(low, max(high, low + 1), (), generator=generator))


def _forest(size: int, rng: torch.Generator) -> np.ndarray:
    """Round obstacles of any size, everywhere."""
    free = np.ones((size, size), dtype=bool)
    rows, columns = np.indices(free.shape)
    for _ in range(_below(size // 2, rng, size // 4)):
        row, column, radius = _below(size, rng), _below(size, rng), _below(size // 8, rng, 1)
        free[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = False
    return free


def _gaps(size: int, rng: torch.Generator) -> np.ndarray:
    """Thick walls from side to side, each with one gap."""
    free, column = np.ones((size, size), dtype=bool), 0
    while True:
        column += _below(size // 3, rng, size // 8)
        thick = _below(size // 8, rng, 1)
        if column + thick >= size - 1:
            break
        free[:, column : column + thick] = False
        wide = _below(4, rng, 1)
        start = _below(size - wide, rng)
        free[start : start + wide, column : column + thick] = True
        column += thick
    return _turned(free, rng)


def _traps(size: int, rng: torch.Generator) -> np.ndarray:
    """One or two cups, each open on one side."""
    free = np.ones((size, size), dtype=bool)
    for _ in range(_below(3, rng, 1)):
        high, wide = (_below(size // 2, rng, size // 5) for _ in range(2))
        row, column = _below(size - high, rng), _below(size - wide, rng)
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
                door = _below(end, rng, start + 1)
                if _below(10, rng) < 8:
                    (free if line is rows else free.T)[cut, door] = True
    return free


def _cuts(size: int, rng: torch.Generator) -> list[int]:
    cuts: list[int] = []
    place = 0
    while True:
        place += _below(size // 3, rng, size // 6)
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
        way = ways[_below(len(ways), rng)]
        _dig(free, (row, column), way)
        seen.add(way)
        stack.append(way)
    for _ in range(blocks):
        row, column = _below(blocks - 1, rng), _below(blocks - 1, rng)
        _dig(free, (row, column), (row + 1, column) if _below(2, rng) else (row, column + 1))
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
    return np.ascontiguousarray(np.rot90(free, _below(4, rng)))


KINDS: dict[str, Callable[[int, torch.Generator], np.ndarray]] = {
    "forest": _forest, "gaps": _gaps, "traps": _traps, "rooms": _rooms, "maze": _maze,
}  # fmt: skip
"""Families that kshot draws."""


@dataclass(frozen=True)
class PlanningTasks:
    """A task is a family: `shots` of its maps solved, `queries` to be solved.

    Args:
        families: solved maps of several kinds, all of one size.
        turned: turn and mirror each map at random, which leaves it of its kind.

    Raises:
        TaskError: no family, or one with too few maps.

    >>> rng = torch.Generator().manual_seed(0)
    >>> source = PlanningTasks((draw_family("gaps", 8, rng, 16), draw_family("maze", 8, rng, 16)), shots=2, queries=3)
    >>> source.sample(rng).query.inputs.shape
    torch.Size([3, 2, 16, 16])
    """

    families: tuple[Family, ...]
    shots: int = 4
    queries: int = 8
    turned: bool = True

    def __post_init__(self) -> None:
        if not self.families:
            raise TaskError(f"families is {self.families!r}; give at least one family of solved maps")
        small = [f"{f.name} ({len(f)})" for f in self.families if len(f) < self.shots + self.queries]
        if small or self.shots < 1 or self.queries < 1:
            raise TaskError(
                f"a task of {self.shots} solved maps and {self.queries} others needs as many in each family; too "
                f"few are in {small}: solve more maps, or ask for fewer"
            )

    def sample(self, generator: torch.Generator) -> Task:
        family = self.families[_below(len(self.families), generator)]
        places = torch.randperm(len(family), generator=generator)[: self.shots + self.queries]
        maps, fields = family.maps[places], family.fields[places]
        if self.turned:
            pairs = [self._turn(m, f, generator) for m, f in zip(maps, fields, strict=True)]
            maps, fields = (torch.stack(column) for column in zip(*pairs, strict=True))
        support, query = (slice(0, self.shots), slice(self.shots, None))
        return Task(
            CostToGo(),
            Examples(maps[support], fields[support]),
            Examples(maps[query], fields[query]),
            name=family.name,
        )

    def _turn(self, raw: Tensor, field: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One of the eight symmetries of a square, of four where the map is no square."""
        whole = torch.cat([raw, field[None]])
        square = whole.shape[1] == whole.shape[2]
        quarters = _below(4, generator) if square else 2 * _below(2, generator)
        whole = torch.rot90(whole, quarters, (1, 2))
        whole = whole.flip(2) if _below(2, generator) else whole
        return whole[:2], whole[2]
