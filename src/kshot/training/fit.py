"""Meta-training: draw tasks, take the meta-gradient, step, validate on tasks of unseen classes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.engine import accumulate
from kshot.errors import KshotError, SettingError
from kshot.evaluation import Report, evaluate
from kshot.learners.learner import Learner
from kshot.learners.records import save_learner
from kshot.seeds import generator
from kshot.tasks import Examples, Task, TaskSource, sample_batch
from kshot.tasks.spaces import OutputSpace
from kshot.tracking import JsonLines, Several, Tracker
from kshot.training import checkpoint
from kshot.training.memory import keep_freed_memory
from kshot.training.progress import Progress
from kshot.training.settings import Settings
from kshot.trust import calibrate


class TrainingDivergedError(KshotError):
    """The loss is no longer a finite number."""


class Stopped(KshotError):
    """Training was interrupted; the checkpoint says where."""


@dataclass(frozen=True)
class Run:
    """A finished meta-training.

    Attributes:
        learner: the best learner by validation (the last one without validation), in eval mode.
        history: one entry per validation: step, loss, validation figures, seconds, cpu_seconds.
        best: the report of the best validation; None without validation.
        folder: where log and checkpoint lie; None when nothing was kept.
    """

    learner: Learner
    history: list[dict[str, float]]
    best: Report | None = None
    folder: Path | None = None


def fit(
    learner: Learner,
    train: TaskSource,
    *,
    validate: TaskSource | None = None,
    folder: str | Path | None = None,
    trackers: list[Tracker] | None = None,
    progress: bool = True,
    settings: Settings | None = None,
    on_validation: Callable[[dict[str, float]], None] | None = None,
    **changes: Any,
) -> Run:
    """Meta-train a copy of `learner` on tasks of `train`.

    Args:
        validate: tasks of other classes; picks the best weights and stops early.
        folder: for log.jsonl, the checkpoint and the result. A run found there is resumed and ends
            in the same parameters as an uninterrupted one.
        trackers: further places for the numbers (see `kshot.tracking`).
        settings, changes: a `Settings`, or its fields by name: `fit(..., steps=5000, rate=1e-3)`.

    Raises:
        SettingError: a setting outside its range.
        CheckpointError: the folder holds another run.
        TrainingDivergedError: the loss became infinite or NaN.
        Stopped: Ctrl-C; the checkpoint is saved, the same call resumes it.

    >>> import torch, kshot
    >>> pool = kshot.data.Pool(torch.rand(40, 4), [i // 4 for i in range(40)])
    >>> source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(5, 1, 1))
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,)))
    >>> run = kshot.fit(learner, source, steps=2, progress=False)
    >>> run.learner.training
    False
    """
    chosen = settings or Settings(**changes)
    if settings is not None and changes:
        raise SettingError(
            f"settings came with {sorted(changes)} too; give either settings= or single settings"
        )
    keep_freed_memory()
    training = _Training(learner, train, validate, Path(folder) if folder else None, chosen)
    training.trackers = list(trackers or [])
    training.bar = Progress(chosen.steps, show=progress)
    training.on_validation = on_validation
    return training.run()


@dataclass
class _Training:
    """The state of a run; `run` is the loop."""

    start: Learner
    train: TaskSource
    validate: TaskSource | None
    folder: Path | None
    settings: Settings
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = -math.inf
    best_step: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    trackers: list[Tracker] = field(default_factory=list)
    bar: Progress = field(default_factory=lambda: Progress(1, show=False))
    on_validation: Callable[[dict[str, float]], None] | None = None

    def __post_init__(self) -> None:
        self.learner = copy.deepcopy(self.start)
        self.average = copy.deepcopy(self.learner)
        self.kept = copy.deepcopy(self.learner)
        trained = [p for p in self.learner.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, self.settings.rate, weight_decay=self.settings.weight_decay
        )
        self.rng = generator(self.settings.seed, "fit")

    @property
    def modules(self) -> dict[str, Learner]:
        return {"learner": self.learner, "average": self.average, "kept": self.kept}

    @property
    def configuration(self) -> dict[str, Any]:
        learner = self.learner
        return {
            "settings": self.settings.to_json(),
            "learner": [learner.kind, learner.config()],
            "encoder": [learner.encoder.kind, learner.encoder.config()],
        }

    def run(self) -> Run:
        if self.folder is not None:
            self._resume(self.folder)
            self.trackers.insert(0, JsonLines(self.folder / "log.jsonl"))
        tracker = Several(self.trackers)
        try:
            with self.bar:
                self._loop(tracker)
        except KeyboardInterrupt:
            raise self._stopped() from None
        finally:
            tracker.close()
        return self._finish()

    def _loop(self, tracker: Tracker) -> None:
        mark, cpu_mark, total, count = time.perf_counter(), time.process_time(), 0.0, 0
        while self.step < self.settings.steps and not self._patience_is_over():
            loss = self._update()
            total, count = total + loss, count + 1
            self.step += 1
            self.bar.advance(self.step, loss, self.settings.validate_every)
            if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                now, cpu = time.perf_counter(), time.process_time()
                self.seconds += now - mark
                self.cpu += cpu - cpu_mark
                self._validate(total / count, tracker)
                mark, cpu_mark, total, count = time.perf_counter(), time.process_time(), 0.0, 0

    def _update(self) -> float:
        self.learner.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * self.settings.factor(self.step)
        tasks = [
            self.learner.prepare(t) for t in sample_batch(self.train, self.settings.meta_batch, self.rng)
        ]
        self.optimizer.zero_grad()
        loss = float(self._gradient(tasks))
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss is {loss} at step {self.step}; it must stay finite: lower rate (now "
                f"{self.settings.rate}) or set clip=10"
            )
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.settings.clip)
        self.optimizer.step()
        self._follow()
        return loss

    def _gradient(self, tasks: list[Task]) -> Tensor:
        space = tasks[0].space
        alike = all(t.space == space for t in tasks)
        with self._precision(tasks):
            if not alike:
                return accumulate(self.learner, self.learner.loss, tasks, executor="loop")
            trees = [_tree(t) for t in tasks]
            return accumulate(
                self.learner,
                lambda tree: self.learner.loss(_task(space, tree)),
                trees,
                executor=self.settings.executor,
            )

    def _precision(self, tasks: list[Task]) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        device = next(self.learner.parameters()).device.type
        return torch.autocast(device, torch.bfloat16)

    def _follow(self) -> None:
        """The running mean of weights; numbers that are no weights are copied."""
        decay = (
            min(self.settings.average, (1 + self.step) / (10 + self.step)) if self.settings.average else 0.0
        )
        for mine, other in zip(
            self.average.state_dict().values(), self.learner.state_dict().values(), strict=True
        ):
            if mine.is_floating_point() and mine.dim() > 0 and decay:
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)

    def _validate(self, loss: float, tracker: Tracker) -> None:
        entry = {"loss": loss, "rate": self.settings.rate * self.settings.factor(self.step)}
        score = float(self.step)
        if self.validate is not None:
            report = evaluate(
                self.average, self.validate, tasks=self.settings.validation_tasks, seed=self.settings.seed
            )
            higher = report.metric not in ("mse", "loss")
            score = report.mean if higher else -report.mean
            entry |= {f"validation_{report.metric}": report.mean, "validation_half": report.interval.half}
            if "loss" in report.figures:
                entry["validation_loss"] = report.figures["loss"]
        entry |= {"seconds": self.seconds, "cpu_seconds": self.cpu}
        if score >= self.best:
            self.best, self.best_step = score, self.step
            self.kept.load_state_dict(self.average.state_dict())
        self.history.append({"step": float(self.step), **entry})
        tracker.log(self.step, entry)
        self.bar.validated(self.step, entry)
        if self.on_validation is not None:
            self.on_validation(self.history[-1])
        self._save()

    def _patience_is_over(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.step - self.best_step >= patience * self.settings.validate_every

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {
            "configuration": self.configuration,
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "best_step": self.best_step,
            "cpu": self.cpu,
            "seconds": self.seconds,
        }
        checkpoint.save(self.folder, state, self.modules, self.optimizer, {"fit": self.rng})

    def _resume(self, folder: Path) -> None:
        found = checkpoint.load(folder, self.configuration)
        if found is None:
            return
        state, tensors = found
        checkpoint.restore(tensors, self.modules, self.optimizer, {"fit": self.rng})
        self.step, self.history = state["step"], state["history"]
        self.best, self.best_step = state["best"], state["best_step"]
        self.cpu, self.seconds = state["cpu"], state["seconds"]
        self.bar.resumed(self.step)

    def _stopped(self) -> Stopped:
        self._save()
        where = f"; run the same command again to go on from {self.folder}" if self.folder else ""
        return Stopped(
            f"stopped at step {self.step} of {self.settings.steps}{where or '; give folder= to be able to resume'}"
        )

    def _finish(self) -> Run:
        learner = self.kept.eval()
        calibrate(learner, self.validate or self.train, seed=self.settings.seed)
        best = None
        if self.validate is not None:
            best = evaluate(
                learner, self.validate, tasks=self.settings.validation_tasks, seed=self.settings.seed
            )
        if self.folder is not None:
            save_learner(learner, self.folder / "learner.kshot", {"settings": self.settings.to_json()})
        return Run(learner, self.history, best, self.folder)


def _tree(task: Task) -> tuple[Any, Any, Any, Any]:
    support, query = task.support, task.query
    assert support is not None
    assert query is not None
    return support.inputs, support.targets, query.inputs, query.targets


def _task(space: OutputSpace, tree: tuple[Any, Any, Any, Any]) -> Task:
    return Task(space, Examples(tree[0], tree[1]), Examples(tree[2], tree[3]))
