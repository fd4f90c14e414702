"""Families of maps: drawn by kshot, or read from the planning datasets of Neural A*; and tasks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kshot.control.cost_to_go import UNKNOWN, CostToGo
from kshot.control.grids import Grid
from kshot.control.map_kinds import KINDS, below
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
    goal = divmod(int(places[below(len(places), generator)]), grid.shape[1])
    field = torch.as_tensor(grid.cost_to_go(goal), dtype=torch.float32)
    return planes(grid, goal), torch.where(torch.isfinite(field), field, torch.full_like(field, UNKNOWN))


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
        family = self.families[below(len(self.families), generator)]
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
        quarters = below(4, generator) if square else 2 * below(2, generator)
        whole = torch.rot90(whole, quarters, (1, 2))
        whole = whole.flip(2) if below(2, generator) else whole
        return whole[:2], whole[2]
