"""The loop of meta-training and its state. `fit` is the public door."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kshot.engine import lay_out, recomputing
from kshot.errors import CheckpointError, SettingError
from kshot.evaluation import Report
from kshot.learners.learner import Learner
from kshot.learners.records import save_learner
from kshot.seeds import drawing, generator
from kshot.tasks import InteractiveTask, Task, TaskSource
from kshot.tracking import JsonLines, Several, Tracker
from kshot.training import checkpoint
from kshot.training.identity import identity
from kshot.training.interrupts import Interrupted, Interrupts
from kshot.training.progress import Progress
from kshot.training.progressed import Progressed
from kshot.training.ranks import Ranks
from kshot.training.run import Run, Stopped, TrainingDivergedError
from kshot.training.settings import Settings
from kshot.training.stopwatch import Stopwatch
from kshot.training.update import autocast, choose_executor, follow, meta_gradient, practice_gradient
from kshot.training.validation import Validation, figures
from kshot.trust import calibrate


@dataclass
class Training:
    """The state of a run; `run` is the loop."""

    start: Learner
    train: TaskSource
    validate: TaskSource | None
    folder: Path | None
    settings: Settings
    trackers: list[Tracker] = field(default_factory=list)
    bar: Progress = field(default_factory=lambda: Progress(Settings(), show=False))
    on_validation: Callable[[dict[str, float]], None] | None = None

    def __post_init__(self) -> None:
        self.at = Progressed()
        self.validation = Validation(self.validate, self.settings)
        self.watch = Stopwatch()
        self.interrupts = Interrupts()
        self.learner = copy.deepcopy(self.start)
        self.learner.name, self.learner.card = "", {}  # the result is another base than the start
        self.average = copy.deepcopy(self.learner)
        self.kept = copy.deepcopy(self.learner)
        self.best: Report | None = None
        self.saved: int | None = None
        trained = [p for p in self.learner.parameters() if p.requires_grad]
        if not trained:
            raise SettingError(
                f"{type(self.start).__name__} on {type(self.start.encoder).__name__} has no parameter to train; "
                "choose an encoder with weights, or use the learner as it is: learner.adapt(...)"
            )
        if self.settings.checkpointing and not self.learner.inner_gradient:
            raise SettingError(
                f"checkpointing is True, but {type(self.start).__name__} takes no inner steps whose activations could be "
                "computed again; leave it out, or use a gradient learner such as kshot.learners.maml"
            )
        autocast(self.learner, self.settings.precision)
        self.ranks = Ranks.here(trained[0].device)
        self.ranks.check(self.settings.meta_batch)
        self.optimizer = torch.optim.AdamW(
            trained, self.settings.rate, weight_decay=self.settings.weight_decay, fused=True
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
            "learner": {"kind": learner.kind, **learner.config()},
            "encoder": {"kind": learner.encoder.kind, **learner.encoder.config()},
            "train": identity(self.train),
            "validate": identity(self.validate),
        }

    def run(self) -> Run:
        self._agree()
        if self.folder is not None:
            self._resume(self.folder)
            self.trackers.insert(0, JsonLines(self.folder / "log.jsonl"))
        if not self.ranks.leads:
            self.trackers = []
        tracker = Several(self.trackers)
        try:
            with self.interrupts, self.bar, recomputing(self.settings.checkpointing):
                self._loop(tracker)
                return self._finish()
        except Interrupted:
            self._save()
            raise self._stopped() from None
        except KeyboardInterrupt:
            # asked twice: a step may be half done, so what was saved last counts
            raise self._stopped() from None
        except RuntimeError:
            if not self.interrupts.asked:
                raise
            # the signal reached worker processes too, and torch reports their death in the middle of a step
            raise self._stopped() from None
        finally:
            tracker.close()

    def _agree(self) -> None:
        """All processes train the same thing, from the same weights."""
        here = json.loads(json.dumps(self.configuration))
        there = self.ranks.told(here)
        if self.ranks.any(there != here):
            said = checkpoint.differences(there, here) or "another process differs"
            raise SettingError(
                f"process {self.ranks.rank} was given another training than process 0 ({said}); give all of them the "
                "same learner, tasks and settings"
            )
        self.ranks.share(list(self.modules.values()))

    def _loop(self, tracker: Tracker) -> None:
        while not self.at.is_over(self.settings):
            if self.at.validation_is_due(self.settings):
                self._validate(tracker)
                self._save()
                self._tell()
            else:
                with self.watch.running():
                    loss = self._update()
                self.at.stepped(loss)
                self.bar.advance(self.at.step, loss)
            self.interrupts.asked = self.ranks.any(self.interrupts.asked)
            self.interrupts.check()

    def _update(self) -> float:
        settings, step = self.settings, self.at.step
        self.learner.train()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * settings.factor(step)
        device = next(self.learner.parameters()).device
        drawn = self.ranks.draw(self.train, settings.meta_batch, self.rng)
        acted = [task for task in drawn if isinstance(task, InteractiveTask)]
        tasks = [] if acted else self.learner.prepare_many(drawn)
        self.optimizer.zero_grad()
        if not acted and not self.at.executor:
            self._choose(tasks)
        own = () if self.ranks.alone else (self.ranks.rank,)
        with drawing(device, settings.seed, "dropout", step, *own):
            loss = float(
                practice_gradient(self.learner, acted, settings.precision, self._acting())
                if acted
                else meta_gradient(self.learner, tasks, self.at.executor, settings.precision)
            )
        loss = self.ranks.average(self.learner, loss)
        if not math.isfinite(loss):
            self._diverged(f"the loss is {loss}")
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), settings.clip)
        self.optimizer.step()
        follow(self.average, self.learner, settings.average, step)
        return loss

    def _acting(self) -> torch.Generator:
        """What chance in interactive tasks is drawn from; processes must not all draw the same."""
        if self.ranks.alone:
            return self.rng
        return generator(self.settings.seed, "practice", self.at.step, self.ranks.rank)

    def _choose(self, tasks: list[Task]) -> None:
        """The executor that was asked for, or the fastest one."""
        self.at.executor = self.settings.executor
        if self.at.executor == "auto":
            if self.ranks.leads:
                left = self.settings.steps - self.at.step
                choice = choose_executor(self.learner, tasks, self.settings.precision, left)
                self.at.executor = choice.executor
                self.bar.chose(choice)
            self.at.executor = self.ranks.told(self.at.executor)
        self._lay_out()

    def _lay_out(self) -> None:
        """Before the optimizer makes its state, which then lies in the same order."""
        layout = self.at.executor.partition(":")[2]
        if layout:
            lay_out(self.learner, layout)

    def _validate(self, tracker: Tracker) -> None:
        at = self.at
        # a weight that is no number must not reach the checkpoint
        bad = [name for name, p in self.learner.named_parameters() if not bool(torch.isfinite(p).all())]
        if bad:
            self._diverged(f"{bad[0]} holds NaN or infinite weights")
        entry = {"loss": at.mean_loss, "rate": self.settings.rate * self.settings.factor(at.step)}
        report = self.ranks.told(self._report(self.average))
        score = self.validation.score(report, at.step)
        entry |= figures(report)
        entry |= {"seconds": self.watch.seconds, "cpu_seconds": self.ranks.total(self.watch.cpu)}
        if at.best is None or score > at.best:
            at.best, at.best_step, self.best = score, at.step, report
            self.kept.load_state_dict(self.average.state_dict())
        at.validated(entry)
        tracker.log(at.step, entry)

    def _report(self, learner: Learner) -> Report | None:
        # one of several processes must not leave while the others wait for it
        return self.validation.report(learner, self.interrupts.check if self.ranks.alone else None)

    def _tell(self) -> None:
        entry = self.at.history[-1]
        self.bar.validated(self.at.step, entry)
        if self.on_validation is not None:
            self.on_validation(dict(entry))

    def _diverged(self, what: str) -> None:
        kept = f"; {self.folder} keeps the last good checkpoint" if self.folder else ""
        raise TrainingDivergedError(
            f"{what} at step {self.at.step}; it must stay finite: lower rate (now {self.settings.rate}) or set "
            f"clip (now {self.settings.clip}), for example clip=10{kept}"
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        self.at.seconds, self.at.cpu = self.watch.seconds, self.ranks.total(self.watch.cpu)
        if self.ranks.leads:
            progress = {"configuration": self.configuration, **vars(self.at)}
            checkpoint.save(self.folder, progress, self.modules, self.optimizer, {"fit": self.rng})
        self.saved = self.at.step

    def _resume(self, folder: Path) -> None:
        found = checkpoint.load(folder, self.configuration)
        if found is not None:
            state, tensors = found
            self.at = Progressed(**{k: v for k, v in state.items() if k != "configuration"})
            self._lay_out()
            try:
                checkpoint.restore(tensors, self.modules, self.optimizer, {"fit": self.rng})
            except (RuntimeError, KeyError, ValueError) as cause:
                raise CheckpointError(
                    f"the checkpoint in {folder} does not fit this learner ({str(cause).splitlines()[0]}); "
                    "it was written by another version: use another folder to start anew"
                ) from cause
            self.watch = Stopwatch(self.at.seconds, self.at.cpu / self.ranks.size)
            self.saved = self.at.step
            self.bar.resumed(self.at.step)
        self.ranks.wait()  # until all have read
        if self.ranks.leads:
            checkpoint.rewrite_log(folder, self.at.history)

    def _stopped(self) -> Stopped:
        where = f"stopped at step {self.at.step} of {self.settings.steps}"
        if self.folder is None:
            return Stopped(f"{where}; nothing was kept: give folder= to be able to resume")
        kept = f"saved at step {self.saved}" if self.saved is not None else "nothing was saved yet"
        return Stopped(f"{where}; {kept}: run the same command again to go on from {self.folder}")

    def _finish(self) -> Run:
        learner = self.kept.eval()
        known = self.train if self.validate is None else self.validate
        calibrate(learner, known, tasks=min(100, self.settings.validation_tasks), seed=self.settings.seed)
        best = self.best or self._report(learner)
        learner.card = {"how": self.configuration, "steps": self.at.best_step, "executor": self.at.executor}
        if best is not None:
            told = best.to_json()
            told.pop("adapt_ms", None)  # a clock's, not the base's
            learner.card = {**learner.card, "validation": told}
        if self.folder is not None and self.ranks.leads:
            save_learner(learner, self.folder / "learner.kshot")
        self.ranks.wait()  # until the file is there
        return Run(learner, self.at.history, best, self.folder, self.at.executor)
