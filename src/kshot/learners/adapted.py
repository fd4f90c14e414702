"""The adapted task: an immutable value that answers, explains itself, changes, is guarded and is saved.

The examples are the truth; embeddings and state are caches. So `add` in any order equals adapting
afresh, and `remove` equals never having seen the example.

Here is what a task can do, in one place. How it answers is in `predictor`; the rest is one file an idea: `evidence`,
`self_estimate`, `changing`, `golden`, `retune`, `rebasing`, `records`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot.errors import DataError
from kshot.learners import changing, evidence, rebasing
from kshot.learners.embedded_examples import EmbeddedExamples
from kshot.learners.given import each_class, embed_read, fresh_ids, single, some
from kshot.learners.golden import Golden, ask, golden, guarded, without_golden
from kshot.learners.learner import Embedded, Learner
from kshot.learners.predictor import Predictor
from kshot.learners.records import save_task
from kshot.learners.results import Checked, Explanation, Rebased, Retuned
from kshot.learners.self_estimate import SelfEstimate, SuspectLabel, self_estimate, suspect_labels
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace

if TYPE_CHECKING:
    from kshot.heads import WithoutEach
    from kshot.learners.located_evidence import Without


@dataclass(frozen=True, repr=False)
class Adapted(Predictor):
    """A task that was learned. Make one with `learner.adapt`.

    Attributes:
        learner, space, inputs, targets, ids, scalars: see `Predictor`.
        golden: examples that must stay right (see `with_golden`); None: there are none.
        removed: examples kept aside (see `remove` and `restore`); None: there are none.
    """

    golden: Golden | None = field(default=None, repr=False)
    removed: EmbeddedExamples | None = field(default=None, repr=False)

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
        learner.check_count(len(read))
        learner.check_examples(read, targets)
        embedded = embed_read(learner, read, check=True)
        names = fresh_ids(ids, len(read), ())
        return cls.of_embedded(learner, space, read, targets, names, embedded, scalars)

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
        return evidence.precise_state(self)

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
        return guarded(self, changing.add(self, inputs, targets, ids), on_regression)

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
        return guarded(self, changing.remove(self, ids), on_regression)

    def restore(self, ids: str | Sequence[str] | None = None, *, on_regression: str = "warn") -> Adapted:
        """A new task with removed examples back in use, behind the others; None: all of them.

        Raises:
            DataError: an id that is not kept aside.
            RegressionError: as for `add`.
        """
        held = self.removed.ids if self.removed else ()
        back = changing.restore(self, held if ids is None else ids)
        return back if back is self else guarded(self, back, on_regression)

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
        before, after = changing.forget(self, ids)
        return guarded(before, after, on_regression)

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
        return replace(self, golden=without_golden(self.golden, held if ids is None else ids))

    def check(self, inputs: Any = None, targets: Any = None) -> Checked:
        """Ask examples whose answers are known, and list the wrong ones (or the space's metrics).

        Without arguments: the golden examples that travel with the task (see `with_golden`).

        Raises:
            DataError: no arguments, and the task carries no golden examples.
        """
        if inputs is None and targets is None:
            return ask(self)
        read = self.learner.encoder.read(inputs)
        return self.checked(self.embed(read), targets)

    def rebase(self, learner: Learner, *, on_regression: str = "warn") -> Rebased:
        """The same examples on another base, with what changed on them and on the golden ones.

        Args:
            on_regression: as for `add`.

        Raises:
            RegressionError: on_regression is "refuse", and a golden example would become wrong.
            DataError: the other base takes another kind of input.
        """
        return rebasing.rebase(self, learner, on_regression)

    def on(self, learner: Learner, embedded: Embedded = None) -> Adapted:
        """The same task on another base of the same kind: examples in use (unless `embedded` has them), aside and
        golden are embedded anew."""
        return rebasing.on(self, learner, embedded)

    def at_scalars(self, scalars: Mapping[str, float] | None) -> Adapted:
        """The task at these scalars of the head (see `retune`); None: at those of its base."""
        return rebasing.at_scalars(self, scalars)

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

    def save(self, path: str | Path, *, include_base: bool | None = None) -> Path:
        """Write the task: its examples, settings, and its base's name and fingerprint.

        Args:
            path: a file; the suffix .kshot is the custom.
            include_base: also write the base, so that the file needs nothing else. None: where the base has no name,
                that is, came from no file of its own in which `kshot.load` could find it again.
        """
        return save_task(self, Path(path), include_base)
