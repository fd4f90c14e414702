"""Tasks from inputs without labels: every input is a class of its own.

Khodadadeh et al. (2019), "Unsupervised Meta-Learning for Few-Shot Image Classification" (UMTRA).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kshot.data.augment import Chain, Elastic, Thickness
from kshot.errors import DataError, SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes

DRAWINGS = Chain((Elastic(), Thickness()))
"""Changes that keep what a drawing shows: another hand, another pen."""


@dataclass(frozen=True)
class Unlabelled:
    """n-way k-shot tasks for meta-training from inputs that nobody has labelled.

    A task takes `ways` inputs at random and declares each a class; its examples, support and query alike,
    are random changes of that one input. Two inputs of one true class may meet in a task: with many more
    true classes than ways that is rare, and costs little.

    Args:
        inputs: a tensor [n, ...]; images are [n, height, width] or [n, channels, height, width].
        augment: changes a batch of inputs, keeping what they show; gets a generator. The default is for
            bright drawings on a dark ground.
        ways, shots, queries: the size of a task.

    Raises:
        DataError: inputs that are no tensor, or NaN. SettingError: fewer inputs than ways.

    >>> images = torch.rand(6, 28, 28, generator=torch.Generator().manual_seed(0))
    >>> task = Unlabelled(images, ways=5).sample(torch.Generator().manual_seed(1))
    >>> task.support.inputs.shape, len(task.query), task.space.size
    (torch.Size([5, 1, 28, 28]), 15, 5)
    """

    inputs: Tensor = field(repr=False)
    augment: Callable[[Any, torch.Generator], Any] = DRAWINGS
    ways: int = 90
    shots: int = 1
    queries: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, Tensor):
            raise DataError(
                f"inputs are a {type(self.inputs).__name__}; give one tensor [n, ...]: torch.from_numpy(array)"
            )
        if self.inputs.is_floating_point() and not bool(torch.isfinite(self.inputs).all()):
            rows = (~torch.isfinite(self.inputs.flatten(1)).all(1)).nonzero().flatten().tolist()
            raise DataError(f"inputs {rows[:5]} hold NaN or infinite numbers; leave those inputs out")
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if len(self.inputs) < self.ways:
            raise SettingError(
                f"{len(self.inputs)} inputs cannot make {self.ways}-way tasks, where each input is a class: "
                "lower ways, or give more inputs"
            )

    def using(self, **changes: Any) -> Unlabelled:
        """The same inputs with other settings: `source.using(ways=20)`."""
        return replace(self, **changes)

    def sample(self, generator: torch.Generator) -> Task:
        """One task; its classes are 0 .. ways - 1."""
        each = self.shots + self.queries
        chosen = torch.randperm(len(self.inputs), generator=generator)[: self.ways]
        changed = self.augment(self.inputs[chosen.repeat_interleave(each)], generator)
        grouped = changed.unflatten(0, (self.ways, each))
        own = torch.arange(self.ways)
        support = Examples(grouped[:, : self.shots].flatten(0, 1), own.repeat_interleave(self.shots))
        query = Examples(grouped[:, self.shots :].flatten(0, 1), own.repeat_interleave(self.queries))
        return Task(Classes(tuple(range(self.ways))), support, query, name="unlabelled")
