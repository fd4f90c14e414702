"""Tasks of terrain: maps of several kinds of ground, drawn, whose hidden costs a few cheapest walks tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.grids import Cell, Grid
from kshot.control.search import search
from kshot.control.terrain import TerrainEncoder
from kshot.control.walks import Walks, walk
from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.tasks import Examples, Task


@dataclass(frozen=True)
class Terrains:
    """A `TaskSource`: each task has costs of its own, hidden; `shots` walks by somebody who knows them, and `queries` more.

    Args:
        kinds: of ground. size: rows and columns. costs: lowest and highest, drawn on a scale of logarithms.
        walls: share of cells that are walls. patch: how wide patches of one kind are, in cells.

    Raises:
        SettingError: sizes that are no whole numbers, an empty range, or walls everywhere.

    >>> task = Terrains(size=12).sample(torch.Generator().manual_seed(0))
    >>> task.support.inputs.shape, task.support.targets.shape
    (torch.Size([4, 5, 12, 12]), torch.Size([4, 12, 12]))
    """

    kinds: int = 4
    size: int = 24
    shots: int = 4
    queries: int = 8
    costs: tuple[float, float] = (1.0, 10.0)
    walls: float = 0.1
    patch: int = 3

    def __post_init__(self) -> None:
        for name, least in (("kinds", 2), ("size", 6), ("shots", 1), ("queries", 1), ("patch", 1)):
            whole(name, getattr(self, name), least)
        if not 0 < self.costs[0] <= self.costs[1] or not 0 <= self.walls <= 0.3:
            raise SettingError(
                f"costs is {self.costs} and walls {self.walls}; costs run from a lowest above 0 to a highest, walls take 0 to "
                "0.3 of the cells"
            )

    def hidden(self, generator: torch.Generator) -> np.ndarray:
        """What each kind costs in a task, [kinds]."""
        low, high = np.log(self.costs)
        share = torch.rand(self.kinds, generator=generator).double().numpy()
        return np.asarray(np.exp(low + (high - low) * share))

    def terrain(self, generator: torch.Generator) -> np.ndarray:
        """A map of kinds 1 to `kinds`, 0 for walls, [size, size]: the kind whose smoothed noise is highest."""
        noise = torch.randn(1, self.kinds, self.size, self.size, generator=generator)
        for _ in range(2):  # twice a mean over neighbours
            noise = F.avg_pool2d(F.pad(noise, (self.patch,) * 4, mode="reflect"), 2 * self.patch + 1, 1)
        noise = noise / noise.std((2, 3), keepdim=True)
        kinds = noise[0].argmax(0).numpy() + 1
        walls = torch.rand(self.size, self.size, generator=generator).numpy() < self.walls
        return np.where(walls, 0, kinds)

    def problem(self, hidden: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, Cell, Cell]:
        """A map, a start and a goal that lie apart and are joined by a way."""
        while True:
            terrain = self.terrain(generator)
            free = np.argwhere(terrain > 0)
            start, goal = (tuple(int(x) for x in free[int(torch.randint(len(free), (), generator=generator))])
                           for _ in range(2))  # fmt: skip
            apart = max(abs(start[0] - goal[0]), abs(start[1] - goal[1])) >= self.size // 2
            if apart and np.isfinite(self.grid(terrain, hidden).cost_to_go(goal)[start]):
                return terrain, (start[0], start[1]), (goal[0], goal[1])

    def grid(self, terrain: np.ndarray, hidden: np.ndarray) -> Grid:
        """A map with its true costs."""
        return Grid(np.array([np.inf, *hidden])[terrain])

    def shown(self, hidden: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A map in raw form, and the cheapest walk on it."""
        terrain, start, goal = self.problem(hidden, generator)
        path = search(self.grid(terrain, hidden), start, goal).path
        assert path is not None
        return TerrainEncoder(self.kinds).planes(terrain, goal), torch.as_tensor(walk(path, terrain.shape))

    def sample(self, generator: torch.Generator) -> Task:
        """One task."""
        hidden = self.hidden(generator)
        rows = [self.shown(hidden, generator) for _ in range(self.shots + self.queries)]
        maps, walks = (torch.stack(column) for column in zip(*rows, strict=True))
        shots = self.shots
        return Task(
            Walks(),
            Examples(maps[:shots], walks[:shots]),
            Examples(maps[shots:], walks[shots:]),
            name="terrain",
        )
