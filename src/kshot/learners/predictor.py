"""A base adapted to examples: a pure function of base, examples and scalars, which answers.

How such a function explains itself, changes, is guarded and saved is in `adapted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from kshot.heads import Before
from kshot.learners.embedded_examples import EmbeddedExamples
from kshot.learners.eval_mode import evaluating
from kshot.learners.given import embed_read, like, plain, space_of
from kshot.learners.learner import Embedded, Learner
from kshot.learners.results import Checked
from kshot.learners.self_knowledge import Cell, Gauge, known, settings_of
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, OutputSpace


@dataclass(frozen=True, repr=False)
class Predictor:
    """Answers for new inputs, by a base and examples; a value.

    Attributes:
        learner: its base.
        space: what an answer is.
        inputs, targets: the examples, inputs in raw form.
        ids: a name per example.
        embedded, state: what the base computed for the inputs, and out of all examples; caches.
        scalars: the head's scalars where `retune` chose them for this task; None: the base's.
    """

    learner: Learner
    space: OutputSpace
    inputs: Any
    targets: Any
    ids: tuple[str, ...]
    embedded: Embedded = field(repr=False)
    state: Any = field(repr=False)
    scalars: Mapping[str, float] | None = None

    @classmethod
    def of_embedded(
        cls,
        learner: Learner,
        space: OutputSpace,
        inputs: Any,
        targets: Any,
        ids: tuple[str, ...],
        embedded: Embedded,
        scalars: Mapping[str, float] | None = None,
        before: Before | None = None,
    ) -> Self:
        """From inputs that were read, checked and embedded before, for who keeps embeddings beside them; `before` is
        what was solved for some of them by the same base."""
        examples = Examples(embedded, like(embedded, space.encode(targets)))
        solver = learner if scalars is None else learner.with_scalars(scalars)
        with torch.no_grad(), evaluating(learner):
            state = solver.solve_after(before, examples, space) if before else solver.solve(examples, space)
        return cls(learner, space, inputs, targets, ids, embedded, state, scalars=scalars)

    def remembering(self, gauge: Gauge | None, knowledge: Cell | None) -> Self:
        """This task with `gauge` and `knowledge` as they were found before, for who keeps them beside its examples."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), gauge=gauge, knowledge=knowledge)
        return other

    @cached_property
    def solver(self) -> Learner:
        """The base, or where the task was retuned a copy of it with the task's scalars, a cache."""
        return self.learner if self.scalars is None else self.learner.with_scalars(self.scalars)

    @property
    def examples(self) -> EmbeddedExamples:
        """The examples with their ids and embeddings."""
        return EmbeddedExamples(self.inputs, self.targets, self.ids, self.embedded)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        """What it is in a line; examples may be many, large or private, so none is shown."""
        answers: tuple[Any, ...] = getattr(self.space, "labels", ())
        told = f"{len(answers)} classes" if answers else self.space.kind
        return f"{type(self).__name__}({told}, {len(self)} examples, {self.learner.kind} on {self.learner.encoder.kind})"

    def predict(self, inputs: Any, *, refused: float | None = None) -> Any:
        """Answers for new inputs, as the space's prediction (for classes: labels, probabilities, unknown).

        Args:
            refused: share of inputs of the known classes that may wrongly be called unknown, for example 0.1;
                by default the base's own, 5 %. More of it refuses more of what is really unknown. It holds on average
                over tasks of the kind that the base was calibrated on; elsewhere calibrate anew (`kshot.trust.calibrate`),
                or, with texts, give several examples a class: then it goes by how these fit each other.

        Raises:
            DataError: inputs that cannot be read.
            SettingError: `refused` is no share, or given and the base was never calibrated.
        """
        return self.decode(self.outputs(embed_read(self.learner, self.learner.encoder.read(inputs))), refused)

    def embed(self, read: Any) -> Any:
        """What the base computes for inputs as its encoder read them (`Embedded`): see `learner.embed`."""
        return embed_read(self.learner, read)

    def answer_embedded(self, embedded: Embedded) -> Any:
        """As `predict`, for inputs that were embedded by `embed`."""
        return self.decode(self.outputs(embedded))

    def outputs(self, embedded: Embedded) -> Any:
        """What the learner responds to embedded inputs, in the form the space's `loss` takes."""
        with torch.no_grad(), evaluating(self.learner):
            return self.solver.respond(self.state, embedded, self.space)

    def decode(self, outputs: Any, refused: float | None = None) -> Any:
        """Outputs as the space's prediction, by what the base knows about tasks of this size."""
        settings = settings_of(self.learner, self.space, self.gauge, self.knowledge, refused)
        return self.space.decode(outputs, **settings)

    def checked(self, embedded: Embedded, targets: Any) -> Checked:
        """Embedded inputs whose answers are known: which of them are answered wrong, or the space's metrics."""
        if not isinstance(self.space, Classes):
            Examples(embedded, targets)
            return Checked(0, 0, [], self.space.metrics(self.outputs(embedded), self.space.encode(targets)))
        given = self.answer_embedded(embedded).labels
        expected = [plain(t) for t in targets]
        Examples(given, expected)
        wrong = [(i, e, g) for i, (e, g) in enumerate(zip(expected, given, strict=True)) if e != g]
        return Checked(len(expected) - len(wrong), len(expected), wrong)

    @cached_property
    def gauge(self) -> Gauge | None:
        """The task's own measure of scores, a cache; None where answers are no classes or the base was never
        calibrated."""
        if not isinstance(self.space, Classes) or not len(self.learner.self_knowledge):
            return None
        examples = self._encoded()
        with torch.no_grad(), evaluating(self.learner):
            own = self.solver.respond_to_own(self.state, examples, self.space)
        standing = self.knowledge is not None and self.knowledge.sureness.standing is not None
        return Gauge.of(own, examples.targets, self.quick_left_out if standing else None)

    @cached_property
    def knowledge(self) -> Cell | None:
        """What the base knows about tasks of this size, a cache; None where it was never calibrated."""
        if not isinstance(self.space, Classes):
            return None
        return known(self.learner, self.space.size, len(self) / self.space.size)

    @property
    def temperature(self) -> float:
        """What scores are divided by to become probabilities."""
        settings = settings_of(self.learner, self.space, self.gauge, self.knowledge)
        return float(settings["temperature"])

    @cached_property
    def quick_left_out(self) -> Tensor | None:
        """Scores [n, classes] of the examples by the task without each, within rounding, a cache; None where the learner
        does not have them at once (see `Learner.respond_left_out`; `leave_one_out` takes its time)."""
        with torch.no_grad(), evaluating(self.learner):
            return self.solver.respond_left_out(self.state, self._encoded(), self.space)

    def _encoded(self) -> Examples:
        """Embeddings and encoded targets, as `solve` takes them."""
        return Examples(self.embedded, like(self.embedded, self.space.encode(self.targets)))

    def without(self, places: set[int]) -> Self:
        """The task adapted without the examples at `places`; one class alone may be left."""
        keep = [place for place in range(len(self)) if place not in places]
        rest = self.examples.take(keep)
        return self.with_examples(rest, space_of(self.space, rest.targets), keep)

    def with_examples(self, held: EmbeddedExamples, space: OutputSpace, rows: Sequence[int]) -> Self:
        """Adapted to other examples, by the same base and scalars.

        Args:
            held, space: all of them, and what an answer is then.
            rows: the place of each of them among the examples here, -1: none. What was solved for those is used again.
        """
        return self.of_embedded(
            self.learner,
            space,
            held.inputs,
            held.targets,
            held.ids,
            held.embedded,
            self.scalars,
            self._before(rows),
        )

    def _before(self, rows: Sequence[int]) -> Before | None:
        """What this task solved, for the next one that has its examples at these rows; None where these are no tensors."""
        targets = self._encoded().targets
        if not isinstance(self.embedded, Tensor) or not isinstance(targets, Tensor):
            return None
        return Before(self.state, targets, torch.tensor(rows, device=targets.device))
