"""The adapted task: an immutable value, a pure function of base, examples and settings.

The examples are the truth; embeddings and state are caches. So `add` in any order equals adapting
afresh, and `remove` equals never having seen the example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kshot.errors import DataError
from kshot.heads import Before
from kshot.learners import evidence
from kshot.learners.given import each_class, embed_read, fresh_ids, like, plain, single, some, space_of
from kshot.learners.golden import Golden, ask, golden, guarded
from kshot.learners.learner import Embedded, Learner, evaluating
from kshot.learners.records import save_task
from kshot.learners.removed import Removed, places_of
from kshot.learners.results import Checked, Explanation, Rebased, Retuned
from kshot.learners.self_estimate import SelfEstimate, SuspectLabel, self_estimate, suspect_labels
from kshot.learners.self_knowledge import Cell, Gauge, known, settings_of
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, OutputSpace

if TYPE_CHECKING:
    from kshot.heads import WithoutEach
    from kshot.learners.located_evidence import Without


@dataclass(frozen=True)
class Adapted:
    """A task that was learned. Make one with `learner.adapt`.

    Attributes:
        learner: its base.
        space: what an answer is.
        inputs, targets: the examples, inputs in raw form.
        ids: a name per example.
        golden: examples that must stay right (see `with_golden`); None: there are none.
        removed: examples kept aside (see `remove` and `restore`); None: there are none.
        scalars: the head's scalars where `retune` chose them for this task; None: the base's.
    """

    learner: Learner
    space: OutputSpace
    inputs: Any
    targets: Any
    ids: tuple[str, ...]
    embedded: Embedded = field(repr=False)
    state: Any = field(repr=False)
    golden: Golden | None = field(default=None, repr=False)
    removed: Removed | None = field(default=None, repr=False)
    scalars: Mapping[str, float] | None = None

    @classmethod
    def start(
        cls,
        learner: Learner,
        inputs: Any,
        targets: Any,
        space: OutputSpace,
        ids: Sequence[str] | None,
        scalars: Mapping[str, float] | None = None,
    ) -> Adapted:
        """Adapt `learner` to examples; `learner.adapt` is the public door."""
        learner.check_space(space)
        read = learner.encoder.read(inputs)
        Examples(read, targets)
        some(read)
        space.encode(targets)
        each_class(space, targets)
        learner.check_examples(read, targets)
        embedded = embed_read(learner, read, check=True)
        names = fresh_ids(ids, len(read), ())
        return cls.of_embedded(learner, space, read, targets, names, embedded, scalars)

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
    ) -> Adapted:
        """From inputs that were read, checked and embedded before, for who keeps embeddings beside them; `before` is
        what was solved for some of them by the same base."""
        examples = Examples(embedded, like(embedded, space.encode(targets)))
        solver = learner if scalars is None else learner.with_scalars(scalars)
        with torch.no_grad(), evaluating(learner):
            state = solver.solve_after(before, examples, space) if before else solver.solve(examples, space)
        return cls(learner, space, inputs, targets, ids, embedded, state, scalars=scalars)

    def remembering(self, gauge: Gauge | None, knowledge: Cell | None) -> Adapted:
        """This task with `gauge` and `knowledge` as they were found before, for who keeps them beside its examples."""
        other = object.__new__(Adapted)
        vars(other).update(vars(self), gauge=gauge, knowledge=knowledge)
        return other

    @cached_property
    def solver(self) -> Learner:
        """The base, or where the task was retuned a copy of it with the task's scalars, a cache."""
        return self.learner if self.scalars is None else self.learner.with_scalars(self.scalars)

    def __len__(self) -> int:
        return len(self.ids)

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

    def _encoded(self) -> Examples:
        return Examples(self.embedded, like(self.embedded, self.space.encode(self.targets)))

    @cached_property
    def quick_left_out(self) -> Tensor | None:
        """Scores [n, classes] of the examples by the task without each, within rounding, a cache; None where the learner
        does not have them at once (see `Learner.respond_left_out`; `leave_one_out` takes its time)."""
        with torch.no_grad(), evaluating(self.learner):
            return self.solver.respond_left_out(self.state, self._encoded(), self.space)

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

    def explain(self, inputs: Any) -> Explanation:
        """Which examples decided the answer to one input, and by how much.

        Exact for every learner: what really adapting without each example in turn gives, by a formula where the
        head has one. Spans and boxes are explained one by one in `.pieces`.

        Raises:
            UnsupportedError: the answer is neither a class nor pieces, or the learner cannot do without an example.
            DataError: more than one input.
        """
        return evidence.explain(self, embed_read(self.learner, self.one(inputs)))[0]

    def one(self, inputs: Any) -> Any:
        """One input as the encoder reads it, also where the caller indexed it out of a batch.

        Raises:
            DataError: more than one input, or none.
        """
        read = self.learner.encoder.read(single(inputs, self.learner.encoder.modality))
        if len(read) != 1:
            raise DataError(
                f"explain() got {len(read)} inputs; it explains one: give inputs[:1] or [input], or use explain_many"
            )
        return read

    def explain_many(self, inputs: Any) -> list[Explanation]:
        """As `explain`, for each of n inputs; much faster than one after the other.

        >>> import torch, kshot
        >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
        >>> [(told.label, told.evidence[0].id) for told in task.explain_many(torch.eye(2))]
        [('left', 'e0'), ('right', 'e1')]
        """
        return evidence.explain(self, embed_read(self.learner, self.learner.encoder.read(inputs)))

    def leave_one_out(self) -> Any:
        """The answer to each support example by the task without it, in the order of `ids`; exact.

        Returns:
            The space's prediction for len(self) inputs. A class whose only example is left out has the
            probability 0 there.

        Raises:
            UnsupportedError: answers are no classes, numbers or pieces, or the learner cannot do without an example.
            TaskError: the task has a single example.

        >>> import torch, kshot
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [0.2]])
        >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(1)).adapt(x, ["low", "low", "high", "high"])
        >>> task.leave_one_out().labels
        ['low', 'low', 'high', 'low']
        """
        return evidence.leave_one_out(self)

    def self_estimate(self) -> SelfEstimate:
        """How good the task is, as far as its own examples can say: exact leave-one-out accuracy and log-loss.

        With one example a class nothing can be left out; then only the base's record on such tasks is told. Of spans
        and boxes it tells the F1 besides (`PiecesEstimate`).

        Raises:
            UnsupportedError: answers are neither classes nor pieces, or the learner cannot do without an example.

        >>> import torch, kshot
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [0.9]])
        >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(1)).adapt(x, ["low", "low", "high", "high"])
        >>> found = task.self_estimate()
        >>> found.accuracy, found.judged, found.record
        (1.0, 4, None)
        """
        return self_estimate(self)

    def suspect_labels(self, share: float = 0.1) -> list[SuspectLabel]:
        """Examples whose label is probably wrong, by what the task answers for them without having seen them; of spans
        and boxes each marked piece, which then is the suspect's `piece`.

        Args:
            share: of labels that are expected to be wrong; a larger one lists more.

        Raises:
            SettingError: `share` is not between 0 and 1.
            UnsupportedError: answers are neither classes nor pieces, or the learner cannot do without an example.

        >>> import torch, kshot
        >>> x = torch.tensor([[0.0], [0.1], [0.2], [1.0], [0.9], [0.1]])
        >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(1))
        >>> learner.temperature.fill_(0.01)
        tensor(0.0100, dtype=torch.float64)
        >>> learner.adapt(x, ["low"] * 3 + ["high"] * 3).suspect_labels()[0].id
        'e5'
        """
        return suspect_labels(self, share)

    @cached_property
    def left_out(self) -> WithoutEach | None:
        """The closed form of the task without each of its examples, a cache; None where the learner has none."""
        return evidence.without_each(self)

    @cached_property
    def left_out_states(self) -> list[Without]:
        """The states of a located task without each of its examples, a cache."""
        from kshot.learners.located_evidence import solved_without_each

        return solved_without_each(self)

    @cached_property
    def warmth(self) -> evidence.Warmth | None:
        """The temperatures of the task without each of its examples, a cache."""
        return evidence.warmth(self)

    @cached_property
    def precise_state(self) -> Any:
        """The state in float64, a cache: what contributions are measured against."""
        exact = evidence.precise(self.embedded)
        examples = Examples(exact, like(exact, self.space.encode(self.targets)))
        with torch.no_grad(), evaluating(self.learner):
            return self.solver.solve(examples, self.space)

    def add(
        self,
        inputs: Any,
        targets: Any = None,
        *,
        ids: Sequence[str] | None = None,
        on_regression: str = "warn",
    ) -> Adapted:
        """A new task that has seen these examples too; new labels become new classes.

        Args:
            inputs, targets: as for `adapt`.
            on_regression: where a golden example was right and is wrong now: "warn", "refuse" or "ignore".

        Raises:
            RegressionError: on_regression is "refuse", and it would be so.
        """
        inputs, targets = self.learner.unpacked(inputs, targets)
        read = self.learner.encoder.read(inputs)
        Examples(read, targets)
        some(read)
        names = fresh_ids(ids, len(read), self.ids, self.removed.ids if self.removed else ())
        more = Removed(read, targets, names, embed_read(self.learner, read, check=True))
        return guarded(self, replace(self._joined(more), removed=self.removed), on_regression)

    def _joined(self, more: Removed) -> Adapted:
        """Adapted to these examples and more; what is kept aside stays behind."""
        new = list(more.targets)
        space = space_of(self.space, [*self.targets, *new])
        space.encode(new)
        self.learner.check_examples(more.inputs, new)
        whole = Removed(self.inputs, self.targets, self.ids, self.embedded).join(more)
        before = self._before([*range(len(self)), *([-1] * len(more))])
        return self.of_embedded(
            self.learner, space, whole.inputs, whole.targets, whole.ids, whole.embedded, self.scalars, before
        )

    def _before(self, rows: Sequence[int]) -> Before | None:
        """What this task solved, for the next one that has its examples at these rows; None where these are no tensors."""
        targets = like(self.embedded, self.space.encode(self.targets))
        if not isinstance(self.embedded, Tensor) or not isinstance(targets, Tensor):
            return None
        return Before(self.state, targets, torch.tensor(rows, device=targets.device))

    def remove(self, ids: str | Sequence[str], *, on_regression: str = "warn") -> Adapted:
        """A new task that never saw the examples of these ids; a class without examples goes.

        The examples are kept aside, in the task and in its file, and `restore` brings them back. To leave nothing
        of them, `forget`.

        Args:
            on_regression: as for `add`.

        Raises:
            RegressionError: on_regression is "refuse", and a golden example would become wrong.
            DataError: an unknown id, or less than two classes would be left.
            UnsupportedError: the learner cannot take an example back.

        >>> import torch, kshot
        >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(2))
        >>> task = learner.adapt(torch.eye(2)[[0, 1, 1]], ["left", "right", "right"]).remove("e2")
        >>> task.ids, task.removed.ids, task.restore("e2").ids
        (('e0', 'e1'), ('e2',), ('e0', 'e1', 'e2'))
        """
        places = places_of(ids, self.ids, "in this task")
        left = self._left(places)
        aside = Removed(self.inputs, self.targets, self.ids, self.embedded).take(places)
        if self.removed is not None:
            aside = self.removed.join(aside)
        return guarded(self, replace(left, removed=aside if aside.ids else None), on_regression)

    def restore(self, ids: str | Sequence[str] | None = None, *, on_regression: str = "warn") -> Adapted:
        """A new task with removed examples back in use, behind the others; None: all of them.

        Raises:
            DataError: an id that is not kept aside.
            RegressionError: as for `add`.
        """
        held = self.removed.ids if self.removed else ()
        places = places_of(held if ids is None else ids, held, "kept aside by this task")
        if self.removed is None or not places:
            return self
        back = replace(self._joined(self.removed.take(places)), removed=self._aside_without(places))
        return guarded(self, back, on_regression)

    def forget(self, ids: str | Sequence[str], *, on_regression: str = "warn") -> Adapted:
        """A new task of which nothing says that these examples ever were; cannot be undone.

        Takes examples in use and examples kept aside. Golden examples with the same input go too, and scalars
        that `retune` chose with the forgotten ones are chosen again without them. A network that was tuned on
        them (`kshot.vision.tune`) goes back to the base it came from; tune again. Older values and files of
        the task still hold the examples: they are yours to delete.

        Raises:
            DataError: an unknown id, or less than two classes would be left.
            RegressionError, UnsupportedError: as for `remove`.
        """
        held = self.removed.ids if self.removed else ()
        known = (*self.ids, *held)
        gone = {known[place] for place in places_of(ids, known, "in this task, nor kept aside by it")}
        places = [place for place, name in enumerate(self.ids) if name in gone]
        aside = [place for place, name in enumerate(held) if name in gone]
        left = replace(self._left(places), removed=self._aside_without(aside))
        left = left.on(self.learner.without_inputs(self._digests(gone)))
        if left.scalars is not None:
            left = left.at_scalars(None).retune().task
        return guarded(self._unguarded(gone), left, on_regression)

    def _unguarded(self, gone: set[str]) -> Adapted:
        """The task without golden examples whose input is one of those ids'."""
        if self.golden is None:
            return self
        banned, digest = self._digests(gone), self.learner.encoder.digest
        keep = [place for place, item in enumerate(self.golden.inputs) if digest(item) not in banned]
        return replace(self, golden=self.golden.only(keep))

    def _digests(self, names: set[str]) -> set[str]:
        """Content hashes of examples, in use or kept aside."""
        every = [*zip(self.inputs, self.ids, strict=True)]
        every += zip(self.removed.inputs, self.removed.ids, strict=True) if self.removed else ()
        return {self.learner.encoder.digest(item) for item, name in every if name in names}

    def on(self, learner: Learner, embedded: Embedded = None) -> Adapted:
        """The same task on another base of the same kind: examples in use (unless `embedded` has them), aside and
        golden are embedded anew."""
        if learner is self.learner:
            return self

        def moved(held: Any) -> Any:
            return held and replace(held, embedded=embed_read(learner, held.inputs))

        known = embed_read(learner, self.inputs) if embedded is None else embedded
        new = self.of_embedded(learner, self.space, self.inputs, self.targets, self.ids, known, self.scalars)
        return replace(new, golden=moved(self.golden), removed=moved(self.removed))

    def _aside_without(self, places: Sequence[int]) -> Removed | None:
        if self.removed is None:
            return None
        gone = set(places)
        keep = [place for place in range(len(self.removed)) if place not in gone]
        return self.removed.take(keep) if keep else None

    def _left(self, places: Sequence[int]) -> Adapted:
        """Adapted without the examples at `places`, which must leave a task."""
        evidence.declared(self)
        if not places:
            return replace(self, golden=None, removed=None)
        if len(places) == len(self):
            raise DataError(f"removing {len(places)} examples would leave none; a task needs at least one")
        left = self.without(set(places))
        each_class(left.space, left.targets)
        return left

    def without(self, places: set[int]) -> Adapted:
        """The task adapted without the examples at `places`; one class alone may be left."""
        keep = [place for place in range(len(self)) if place not in places]
        rest = Removed(self.inputs, self.targets, self.ids, self.embedded).take(keep)
        space = space_of(self.space, rest.targets)
        before = self._before(keep)
        return self.of_embedded(
            self.learner, space, rest.inputs, rest.targets, rest.ids, rest.embedded, self.scalars, before
        )

    def at_scalars(self, scalars: Mapping[str, float] | None) -> Adapted:
        """The task at these scalars of the head (see `retune`); None: at those of its base."""
        if scalars == self.scalars:
            return self
        new = self.of_embedded(
            self.learner, self.space, self.inputs, self.targets, self.ids, self.embedded, scalars
        )
        return replace(new, golden=self.golden, removed=self.removed)

    def retune(self, *, on_regression: str = "warn") -> Retuned:
        """Choose the head's scalars anew for this task, by exact leave-one-out, and say what changed.

        The start is always the base's scalars, which were meta-learned over many tasks; they are left only as far as
        the task's own examples outweigh them, and kept where that gains nothing. The base does not change.

        Raises:
            UnsupportedError: the learner has no scalars with a closed form.
            RegressionError: as for `add`.
        """
        from kshot.learners.retune import retune

        found = retune(self)
        return replace(found, task=guarded(self, found.task, on_regression)) if found.changed else found

    def with_golden(
        self,
        inputs: Any,
        targets: Any,
        *,
        ids: Sequence[str] | None = None,
        tolerance: float | None = None,
    ) -> Adapted:
        """A new task that also carries examples which must stay right, as regression tests do for a program.

        They are not learned from. `check()` asks them; `add`, `remove`, `retune` and `rebase` warn of those that
        were right and become wrong, or refuse on request. They are saved with the task.

        Args:
            inputs, targets: as for `adapt`. ids: a name per example; made up if not given.
            tolerance: where answers are numbers: how far one may be off and still be right.

        Raises:
            DataError: a class that the task does not know, one input with two answers, an id in use.
            UnsupportedError: answers are neither classes nor numbers.

        >>> import torch, kshot
        >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
        >>> task = task.with_golden(torch.tensor([[0.6, 0.4]]), ["left"])
        >>> task.check().passed
        True
        >>> task.add(torch.tensor([[0.9, 0.2]]), ["right"], on_regression="refuse")
        Traceback (most recent call last):
            ...
        kshot.errors.RegressionError: 1 of 1 golden checks were right and are wrong after this change: 'g0' \
(right is 'left', now 'right'); nothing was changed: leave the change out, or accept it with on_regression="warn"
        """
        new = golden(self, inputs, targets, ids, tolerance)
        return replace(self, golden=self.golden.join(new) if self.golden else new)

    def without_golden(self, ids: str | Sequence[str] | None = None) -> Adapted:
        """A new task without the golden examples of these ids; None: without any.

        Raises:
            DataError: an unknown id.
        """
        held = self.golden.ids if self.golden else ()
        gone = set(held if ids is None else [ids] if isinstance(ids, str) else ids)
        unknown = sorted(gone - set(held))
        if unknown:
            raise DataError(
                f"id {unknown[0]!r} is no golden example of this task; they are {list(held)[:10]}"
            )
        places = [place for place, name in enumerate(held) if name not in gone]
        return replace(self, golden=self.golden.only(places) if self.golden else None)

    def check(self, inputs: Any = None, targets: Any = None) -> Checked:
        """Ask examples whose answers are known, and list the wrong ones (or the space's metrics).

        Without arguments: the golden examples that travel with the task (see `with_golden`).

        Raises:
            DataError: no arguments, and the task carries no golden examples.
        """
        if inputs is None and targets is None:
            return ask(self)
        read = self.learner.encoder.read(inputs)
        if not isinstance(self.space, Classes):
            Examples(read, targets)
        return self._checked(embed_read(self.learner, read), targets)

    def _checked(self, embedded: Embedded, targets: Any) -> Checked:
        if not isinstance(self.space, Classes):
            return Checked(0, 0, [], self.space.metrics(self.outputs(embedded), self.space.encode(targets)))
        given = self.answer_embedded(embedded).labels
        expected = [plain(t) for t in targets]
        Examples(given, expected)
        wrong = [(i, e, g) for i, (e, g) in enumerate(zip(expected, given, strict=True)) if e != g]
        return Checked(len(expected) - len(wrong), len(expected), wrong)

    def rebase(self, learner: Learner, *, on_regression: str = "warn") -> Rebased:
        """The same examples on another base, with what changed on them and on the golden ones.

        Args:
            on_regression: as for `add`.

        Raises:
            RegressionError: on_regression is "refuse", and a golden example would become wrong.
            DataError: the other base takes another kind of input.
        """
        if learner.encoder.modality != self.learner.encoder.modality:
            raise DataError(
                f"the new base takes {learner.encoder.modality} inputs, this task holds "
                f"{self.learner.encoder.modality} inputs; choose a base of the same kind"
            )
        moved = Adapted.start(learner, self.inputs, self.targets, self.space, self.ids)
        task = guarded(self, moved, on_regression)
        before, after = (one._checked(one.embedded, one.targets) for one in (self, task))
        worse = ask(task).worse_than(ask(self)) if self.golden else ()
        return Rebased(task, before, after, worse)

    def export(self, path: str | Path, *, inputs: str = "raw") -> Path:
        """Write encoder and adapted head as an ONNX file that runs without kshot and without PyTorch.

        Args:
            path: a file; the suffix .onnx is the custom.
            inputs: "raw": what the encoder takes (see `kshot.exporting`); "features": the graph is the head alone.

        Raises:
            UnsupportedError: an encoder or learner of which no graph can be written, or one that answers otherwise
                than the task. MissingExtraError: the extra `export` is not installed.
        """
        from kshot.exporting import write_onnx

        return write_onnx(self, Path(path), inputs=inputs)

    def save(self, path: str | Path, *, include_base: bool = False) -> Path:
        """Write the task: its examples, settings, and its base's name and fingerprint.

        Args:
            path: a file; the suffix .kshot is the custom.
            include_base: also write the base, so that the file needs nothing else.
        """
        return save_task(self, Path(path), include_base)
