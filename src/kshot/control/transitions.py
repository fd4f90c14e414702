"""What was lived through, cut into tasks: some transitions of one robot to adapt to, those after them to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kshot.control.bodies import Fault
from kshot.control.living import Lived
from kshot.control.quadruped import Quadruped
from kshot.control.robots import Life
from kshot.errors import DataError, TaskError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Numbers


@dataclass(frozen=True, eq=False)
class Transitions:
    """Stretches of robots' lives, each of one robot whose body did not change; a `TaskSource`.

    Args:
        inputs: observations and actions, [stretches, steps, inputs].
        changes: of the observations, [stretches, steps, outputs].
        parameters: the true parameters of each stretch, [stretches, parameters], for an oracle.
        shots: transitions to adapt to; one of these is drawn for each batch. queries: those after them.
        told: give the parameters as inputs too, as an oracle has them.
        mixed: draw the transitions of a task from all stretches: for a model that is free of context, which so learns
            from many robots at once. A task of many queries then takes the place of many tasks.
        view: tasks hold transitions as a model sees them, where mixed in all mirror images; None: as they are.

    Raises:
        DataError: shapes that do not fit each other. TaskError: stretches too short for a task.

    >>> lived = Transitions(torch.rand(3, 50, 4), torch.rand(3, 50, 2), torch.zeros(3, 1), shots=(8, 16), queries=8)
    >>> len(lived.sample(torch.Generator().manual_seed(0)).query)
    8
    """

    inputs: Tensor
    changes: Tensor
    parameters: Tensor
    shots: tuple[int, ...] = (8, 16, 32)
    queries: int = 32
    told: bool = False
    mixed: bool = False
    view: Quadruped | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.inputs, self.changes, self.parameters)]
        if self.inputs.ndim != 3 or shapes[0][:2] != shapes[1][:2] or shapes[0][0] != shapes[2][0]:
            raise DataError(
                f"inputs, changes and parameters have shapes {shapes}; give [n, steps, inputs], [n, steps, outputs] "
                "and [n, parameters]"
            )
        if not self.shots or min(self.shots) < 1 or self._size(max(self.shots)) > self.inputs.shape[1]:
            raise TaskError(
                f"shots is {self.shots} and queries {self.queries}, stretches have {self.inputs.shape[1]} steps; "
                "give fewer, or longer stretches"
            )

    @classmethod
    def of(cls, lived: Lived, lives: Sequence[Life], length: int = 100, **settings: Any) -> Transitions:
        """Cut lives into stretches of `length` steps, none across the step at which a body changed.

        Raises:
            TaskError: no life is so long.
        """
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        joints = lived.actions.shape[2]
        for seen, actions, life in zip(lived.seen, lived.actions, lives, strict=True):
            steps = len(actions)
            for first, last, fault in ((0, life.at, Fault()), (life.at, steps, life.fault)):
                for start in range(first, min(last, steps) - length + 1, length):
                    part = slice(start, start + length)
                    change = seen[start + 1 : start + length + 1] - seen[part]
                    rows.append((torch.cat([seen[part], actions[part]], 1), change, fault.numbers(joints)))
        if not rows:
            raise TaskError(
                f"length is {length}; no stretch of a life of one body is so long: give fewer steps"
            )
        inputs, changes, parameters = (torch.stack(column) for column in zip(*rows, strict=True))
        return cls(inputs, changes, parameters, **settings)

    def cut(self, length: int) -> Transitions:
        """The same in stretches of `length` steps; what is left over at the end of each is dropped.

        Raises:
            TaskError: no stretch is so long.
        """
        parts = self.inputs.shape[1] // length
        if not parts:
            raise TaskError(f"length is {length}; stretches have {self.inputs.shape[1]} steps: give fewer")
        inputs, changes = (
            rows[:, : parts * length].reshape(-1, length, rows.shape[2])
            for rows in (self.inputs, self.changes)
        )
        parameters = self.parameters.repeat_interleave(parts, 0)
        return replace(self, inputs=inputs, changes=changes, parameters=parameters, shots=(1,), mixed=True)

    def split(self, count: int) -> list[Transitions]:
        """`count` stretches each, the last perhaps fewer."""
        cut = [torch.split(rows, count) for rows in (self.inputs, self.changes, self.parameters)]
        return [
            replace(self, inputs=inputs, changes=changes, parameters=parameters)
            for inputs, changes, parameters in zip(*cut, strict=True)
        ]

    def _size(self, shots: int) -> int:
        """Steps of a stretch that a task takes."""
        return 1 if self.mixed else shots + self.queries

    def __len__(self) -> int:
        return len(self.inputs)

    def __add__(self, other: Transitions) -> Transitions:
        """These stretches and the other ones, cut into tasks as these are."""
        return self.joined([self, other])

    @staticmethod
    def joined(parts: Sequence[Transitions]) -> Transitions:
        """All stretches of these, cut into tasks as those of the first are."""
        inputs, changes, parameters = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "changes", "parameters")
        )
        return replace(parts[0], inputs=inputs, changes=changes, parameters=parameters)

    def scales(self) -> dict[str, list[float]]:
        """Mean and deviation of each input (parameters too, where told), and the deviation of each change."""
        told = self.parameters[:, None].expand(-1, self.inputs.shape[1], -1)
        inputs, changes, parameters = self._viewed(
            *(rows.flatten(0, 1) for rows in (self.inputs, self.changes, told))
        )
        rows = self._told(inputs, parameters)
        std = rows.std(0).clamp(min=1e-3)
        # root mean square: a change is measured from none
        change = changes.square().mean(0).sqrt().clamp(min=1e-4)
        if self.view is not None:
            change = change / change.new_tensor(self.view.trust)
        return {"mean": rows.mean(0).tolist(), "std": std.tolist(), "scale": change.tolist()}

    def sample(self, generator: torch.Generator) -> Task:
        """One task."""
        return self.sample_batch(1, generator)[0]

    def sample_batch(self, count: int, generator: torch.Generator) -> list[Task]:
        """`count` tasks with as many shots each, so that they can be trained on at once."""
        shots = self.shots[int(torch.randint(len(self.shots), (), generator=generator))]
        size, taken = shots + self.queries, self._size(shots)
        which = torch.randint(len(self.inputs), (count, size if self.mixed else 1), generator=generator)
        first = torch.randint(self.inputs.shape[1] - taken + 1, which.shape, generator=generator)
        steps = first if self.mixed else first + torch.arange(size)
        which = which.expand(-1, size)
        drawn = zip(
            self.inputs[which, steps], self.changes[which, steps], self.parameters[which], strict=True
        )
        space, rows = Numbers(self.changes.shape[2]), [self._viewed(*one) for one in drawn]
        return [
            Task(space, Examples(x[:shots], y[:shots]), Examples(x[shots:], y[shots:]), name="transitions")
            for x, y in ((self._told(inputs, parameters), changes) for inputs, changes, parameters in rows)
        ]

    def _told(self, inputs: Tensor, parameters: Tensor) -> Tensor:
        return torch.cat([inputs, parameters], -1) if self.told else inputs

    def _viewed(self, inputs: Tensor, changes: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.view is None:
            return inputs, changes, parameters
        return self.view.transitions(inputs, changes, parameters, mirrored=self.mixed)

    def identity(self) -> dict[str, Any]:
        """For a training folder: which lives these are."""
        view = {} if self.view is None else {"view": str(self.view)}
        return {"kind": "Transitions", "shape": list(self.inputs.shape), "sum": float(self.changes.double().sum()),
                "shots": list(self.shots), "queries": self.queries, "told": self.told, "mixed": self.mixed, **view}  # fmt: skip
