"""The learner: adapts to a few examples, and has a loss to be meta-trained by.

A learner is written for one task; the engine makes it many. A new one sets `kind` and writes
`config`, `solve` and `respond`; the rest is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kshot.encoders import Encoder
from kshot.errors import DataError, UnsupportedError
from kshot.learners.shortcuts import Shortcuts
from kshot.learners.unpacking import guessed_space, unpacked
from kshot.tasks import Examples, InteractiveTask, Task
from kshot.tasks.spaces import Classes, Numbers, OutputSpace

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

State = Any
"""What adapting computes: a tree of tensors."""

Embedded = Any
"""What is kept of n examples: a tensor [n, ...], or a list of n tensors where they are of unequal size."""


class Movement(NamedTuple):
    """The network's numbers before and after adapting.

    Attributes:
        before, after: parameters by name, the encoder's with "encoder." before it.
        moving: what moved them: parameters themselves, or an adapter's numbers as "film:NAME", "lora.a:NAME".
        policy: how batch norms take their statistics, see `kshot.encoders.normalising`.
    """

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    moving: dict[str, Tensor]
    policy: str = "module"


class Learner(Shortcuts, nn.Module, ABC):
    """Base of all learners.

    Attributes:
        encoder: owns the inputs.
        temperature, threshold: what turns scores into probabilities, and the score under which an input is
            unknown, in bases that were saved before there was `self_knowledge`, which replaces both.
        seen: range of the encoder's input statistics in training, [2, statistics]; empty before.
        self_knowledge: what the base knows about its answers (see `kshot.trust.calibrate`), a row per size of
            task: temperature, accuracy, and quantiles for refusals and sets; empty before.
        name, card: what a loaded base is called, and how it was made.
    """

    kind: ClassVar[str]
    regime: str = "inductive"
    """"transductive" where the answer to one query depends on the other queries."""
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes,)
    temperature: Tensor
    threshold: Tensor
    seen: Tensor
    self_knowledge: Tensor
    name: str = ""
    card: Mapping[str, Any] = MappingProxyType({})
    inner_gradient: ClassVar[bool] = False
    """True where the loss itself contains a gradient."""
    removes: ClassVar[bool] = True
    """False where an example, once seen, cannot be taken back; `remove`, `forget` and `explain` then say so."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))
        self.register_buffer("threshold", torch.full((), float("-inf"), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(0))
        self.register_buffer("self_knowledge", torch.zeros(0, 0))

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments without the encoder, as JSON."""

    @abstractmethod
    def solve(self, support: Examples, space: OutputSpace) -> State:
        """Embedded support to a state; inputs are what `embed` returned, targets encoded."""

    @abstractmethod
    def respond(self, state: State, inputs: Any, space: OutputSpace) -> Any:
        """Outputs for embedded inputs (`Embedded`), in the form the space's `loss` takes."""

    def movement(self, state: State, space: OutputSpace) -> Movement | None:
        """What adapting moved in the network; None where it moves nothing."""
        return None

    def scalars(self) -> dict[str, float]:
        """The meta-learned scalars that a task may choose anew by leave-one-out; empty where there are none."""
        return {}

    def with_scalars(self, scalars: Mapping[str, float]) -> Learner:
        """This learner with other scalars; it shares everything else with this one, which does not change."""
        raise UnsupportedError(
            f"{type(self).__name__} has no scalars to choose anew, {sorted(scalars)} were given; closed-form heads "
            "have them: kshot.learners.ClosedForm or ProtoNet"
        )

    def embed(self, prepared: Any) -> Any:
        """What can be computed per example before adapting and kept (`Embedded`): features, or the input itself."""
        return self.encoder(prepared)

    def loss(self, task: Task) -> Tensor:
        """Loss on the query after adapting to the support: a scalar to be differentiated.

        `task` is prepared (see `prepare`).
        """
        outputs, targets = self.answer(task)
        return task.space.loss(outputs, targets)

    def answer(self, task: Task) -> tuple[Any, Any]:
        """Outputs and targets of a prepared task's query, after adapting to its support."""
        support, query = task.support, task.query
        if support is None or query is None:
            raise DataError(
                f"task {task.name!r} lacks a support or a query; training and evaluation need both"
            )
        embedded = self.embed(self.encoder.join([support.inputs, query.inputs]))
        count = len(support)
        return self.answer_embedded(
            Task(
                task.space,
                Examples(embedded[:count], support.targets),
                Examples(embedded[count:], query.targets),
                name=task.name,
            )
        )

    def answer_embedded(self, task: Task) -> tuple[Any, Any]:
        """As `answer`, for a task whose inputs are embedded already."""
        if task.support is None or task.query is None:
            raise DataError(f"task {task.name!r} lacks a support or a query; give both")
        state = self.solve(task.support, task.space)
        return self.respond(state, task.query.inputs, task.space), task.query.targets

    def prepare(self, task: Task) -> Task:
        """The task with inputs as the encoder wants them and targets encoded, on the learner's device."""
        from kshot.learners.preparing import prepare

        return prepare(self, task)

    def prepare_many(self, tasks: Sequence[Task]) -> list[Task]:
        """`prepare` for each. Alike tasks of tensors are read in one go: small networks wait for little else."""
        from kshot.learners.preparing import prepare_many

        return prepare_many(self, tasks)

    def prepared(self, read: Any) -> Any:
        """Inputs as read, in the network's form (`Embedded`), on the learner's device and in its number type."""
        weight = next((p for p in self.parameters() if p.is_floating_point()), None)
        inputs = self.encoder.prepare(read)
        if weight is None:
            return inputs
        moved = [x.to(weight.device, weight.dtype) if x.is_floating_point() else x for x in _each(inputs)]
        return moved if isinstance(inputs, list) else moved[0]

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """The return on each interactive task: adapts to one exploring episode, then acts by what it learned.

        A learner that learns while it acts overrides this.
        """
        found = []
        for task in tasks:
            adapted = self.adapt(task.collect(None, generator), space=task.space)
            found.append(task.score(adapted.predict, generator))
        return found

    def practise(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> Tensor:
        """Loss of acting in interactive tasks: a scalar to be differentiated, what `fit` steps on for them."""
        raise UnsupportedError(
            f"{type(self).__name__} cannot be trained on interactive tasks ({tasks[0].name!r}); it has no practise(): "
            "train it on tasks with a support and a query, or use kshot.control.arm_policy"
        )

    def check_space(self, space: OutputSpace) -> None:
        """Raise UnsupportedError when this learner cannot answer in `space`."""
        if not isinstance(space, self.spaces):
            able = ", ".join(s.__name__ for s in self.spaces)
            raise UnsupportedError(
                f"{type(self).__name__} cannot answer with {type(space).__name__}; it answers with {able}: "
                "choose another learner"
            )

    def without_inputs(self, digests: set[str]) -> Learner:
        """A learner that never saw inputs of these digests: itself, unless it was tuned on them for one task.

        Raises:
            UnsupportedError: it was, and the base it came from is not at hand.
        """
        return self

    def check_count(self, count: int) -> None:
        """Raise DataError where so many examples are more than this learner can solve for; by default none are."""

    def check_examples(self, read: Any, targets: Any) -> None:
        """Raise DataError where inputs as read and their raw targets do not fit each other; by default they do."""

    def unpacked(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """Inputs and one target for each, out of what `adapt` or `add` was given; override it to take other forms.

        Targets are found by place. A column of a data frame is found by its own index, in another order after a split
        or a shuffle, so it becomes a list. One text may come with one label.

        Raises:
            DataError: no targets.
        """
        return unpacked(inputs, targets)

    def adapt(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        space: OutputSpace | None = None,
        ids: Sequence[str] | None = None,
    ) -> Adapted:
        """Learn a task from a few examples. The learner does not change.

        Args:
            inputs: what the encoder takes (see its class), or an `Examples`.
            targets: one label (string, whole number) or number per input.
            space: what an answer is; by default classes for labels, numbers for real values.
            ids: a name per example, to remove it by later; made up if not given.

        Returns:
            The adapted task: a value that predicts, explains, grows and is saved.

        Raises:
            DataError: inputs or targets that cannot be used.

        >>> import torch, kshot
        >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(2))
        >>> task = learner.adapt(torch.eye(2), ["left", "right"])
        >>> task.predict(torch.tensor([[0.9, 0.2]])).labels
        ['left']
        """
        from kshot.learners.adapted import Adapted

        inputs, targets = self.unpacked(inputs, targets)
        return Adapted.start(self, inputs, targets, space or self.guess_space(targets), ids)

    def guess_space(self, targets: Any) -> OutputSpace:
        """Numbers for floating-point targets, else the classes that occur."""
        return guessed_space(targets, numbers=Numbers in self.spaces)


def _each(values: Embedded) -> list[Tensor]:
    return values if isinstance(values, list) else [values]
