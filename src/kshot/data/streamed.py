"""Tasks made ahead by worker processes: for pictures on disk, or any source that takes time to draw."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from kshot.errors import KshotError, SettingError
from kshot.tasks import Examples, Task, TaskSource


class Streamed:
    """`source`, drawn in `workers` processes, some tasks ahead.

    One number drawn from the generator seeds each task, and nothing else is kept: the generator is the
    whole state, so any number of workers gives the same tasks, and a resumed run goes on with the same
    ones. To be ahead, the next seeds are guessed from a copy of the generator; a wrong guess (another
    generator, or one used elsewhere in between) costs the tasks made ahead, never a different task.

    Args:
        source: must be picklable where processes are spawned (macOS, Windows).
        workers: processes; 0 draws in this one.
        prefetch: tasks made ahead by each worker: bounds memory at workers x prefetch tasks.

    >>> from kshot.data import Episodes, Pool
    >>> from kshot.tasks import NWayKShot
    >>> pool = Pool(torch.arange(12.0).reshape(6, 2), [0, 0, 1, 1, 2, 2])
    >>> source = Streamed(Episodes(pool, NWayKShot(2, 1, 1)), workers=0)
    >>> len(source.sample(torch.Generator().manual_seed(0)).query)
    2
    """

    def __init__(self, source: TaskSource, *, workers: int = 2, prefetch: int = 2) -> None:
        if workers < 0 or prefetch < 1:
            raise SettingError(
                f"workers is {workers}, prefetch {prefetch}; use workers >= 0 and prefetch >= 1"
            )
        self.source, self.workers, self.prefetch = source, workers, prefetch
        self._seeds = _Seeds()
        self._skipped = 0
        self._loader: DataLoader[Any] | None = None
        self._ahead: Iterator[Any] | None = None

    def using(self, **changes: Any) -> Streamed:
        """The same with other settings of the source: `source.using(ways=20)`."""
        source: Any = self.source
        return Streamed(source.using(**changes), workers=self.workers, prefetch=self.prefetch)

    def sample(self, generator: torch.Generator) -> Task:
        before = generator.get_state()
        seed = _draw(generator)
        skipped, self._skipped = self._skipped, 0
        if self.workers == 0:
            return _sample(self.source, seed)
        found, made = self._next(before)
        if found != seed:
            self._seeds.every = 1 + skipped
            found, made = self._restart(before)
        if isinstance(made, KshotError):
            self.close()
            raise made
        return _to_torch(made)

    def skip(self, generator: torch.Generator) -> None:
        """Leave out a task: the generator moves on as if it had been drawn. For one of several processes."""
        _draw(generator)
        self._skipped += 1

    def _next(self, before: Tensor) -> tuple[int, Any]:
        if self._ahead is None:
            return self._restart(before)
        found: tuple[int, Any] = next(self._ahead)
        return found

    def _restart(self, before: Tensor) -> tuple[int, Any]:
        """Guess seeds from the generator's state `before` this draw, and make tasks from them."""
        self._seeds.state = before
        if self._loader is None:
            self._loader = self._open()
        self._ahead = iter(self._loader)
        first: tuple[int, Any] = next(self._ahead)
        return first

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            _Tasks(self.source),
            batch_size=None,
            sampler=self._seeds,
            num_workers=self.workers,
            collate_fn=_as_it_is,
            prefetch_factor=self.prefetch,
            persistent_workers=True,
            worker_init_fn=_leave_interrupts_alone,
            generator=torch.Generator(),  # else torch would draw from its global one
        )

    def close(self) -> None:
        """End the worker processes; the next task starts new ones."""
        self._ahead = self._loader = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loader": None, "_ahead": None, "_seeds": _Seeds()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Streamed:
        return Streamed(copy.deepcopy(self.source, memo), workers=self.workers, prefetch=self.prefetch)


class _Seeds(Sampler[int]):
    """The seeds that a generator in `state` will draw: every one, or every second, and so on."""

    def __init__(self) -> None:
        self.state = torch.Generator().get_state()
        self.every = 1

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.set_state(self.state)
        while True:
            yield _draw(generator)
            for _ in range(self.every - 1):
                _draw(generator)


class _Tasks(Dataset[Any]):
    """Seed to (seed, task); an error of ours travels as a value, so that its message stays readable."""

    def __init__(self, source: TaskSource) -> None:
        self.source = source

    def __getitem__(self, seed: int) -> tuple[int, Any]:
        try:
            return seed, _to_numpy(_sample(self.source, seed))
        except KshotError as error:
            return seed, error


def _leave_interrupts_alone(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one ends its step first, and for that needs its tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


def _sample(source: TaskSource, seed: int) -> Task:
    return source.sample(torch.Generator().manual_seed(seed))


def _as_it_is(item: Any) -> Any:
    return item


def _to_numpy(task: Task) -> Task:
    """Tensors as arrays: these travel through a pipe, where tensors would each take a file handle and shared
    memory, of which containers have little."""
    return _each(task, lambda x: x.numpy() if isinstance(x, Tensor) else x)


def _to_torch(task: Task) -> Task:
    return _each(task, lambda x: torch.from_numpy(x) if isinstance(x, np.ndarray) else x)


def _each(task: Task, change: Callable[[Any], Any]) -> Task:
    def values(x: Any) -> Any:
        return [change(item) for item in x] if isinstance(x, list) else change(x)

    def one(examples: Examples | None) -> Examples | None:
        return None if examples is None else Examples(values(examples.inputs), values(examples.targets))

    return replace(task, support=one(task.support), query=one(task.query), unlabelled=values(task.unlabelled))
