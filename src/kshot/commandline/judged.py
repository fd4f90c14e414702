"""A saved task asked examples whose answers are known: `kshot evaluate TASK --data TABLE`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from kshot.commandline import sources
from kshot.commandline.answers import Answer, answer_all, short
from kshot.commandline.columns import Columns
from kshot.commandline.output import finish, say, show_table
from kshot.commandline.questions import Question
from kshot.errors import SettingError, UnsupportedError
from kshot.learners.self_estimate import wilson
from kshot.tasks.spaces import Classes

_SHOWN = 40
_RANDOM = ("ways", "shots", "queries", "tasks", "seed", "out", "baselines")
"""Settings of kshot evaluate that mean nothing to a saved task."""


class Judged(NamedTuple):
    """The answer to an example, beside what is right; `stranger`: its label is none of the task's classes."""

    right: Any
    answer: Answer
    stranger: bool

    @property
    def hit(self) -> bool:
        """Answered right, whatever it says about being unknown."""
        return bool(str(self.answer.label) == str(self.right))


def judge_task(name: str, data: Sequence[str], columns: tuple[Any, Any], as_json: bool) -> None:
    """Ask a saved task every example of DATA; tell accuracy, classes and what was answered wrong.

    Args:
        data: one name; several compare bases, not tasks.
        columns: what --input and --label say.

    Raises:
        UnsupportedError: answers are no classes. DataError: DATA cannot be read.
    """
    task = sources.task_of(name)
    if len(data) != 1:
        raise SettingError(f"--data names {len(data)} sets; a saved task is asked one: give one")
    if not isinstance(task.space, Classes):
        raise UnsupportedError(
            f"{name} answers with {task.space.kind}; evaluate asks tasks whose answers are classes: in Python, "
            "task.check(inputs, answers)"
        )
    pool = sources.pool(data[0], columns=Columns.asked(*columns, task.learner))
    sources.check_fits(task.learner.encoder, pool)
    ids = sources.names(pool, Path(data[0])) or [str(place) for place in range(1, len(pool) + 1)]
    right, known = sources.labels(pool), set(map(str, task.space.labels))
    asked = [Question(name, item) for name, item in zip(ids, pool.inputs, strict=True)]
    judged = [
        Judged(label, answer, str(label) not in known)
        for label, answer in zip(right, answer_all(task, asked), strict=True)
    ]
    finish(_told(judged), as_json)


def no_settings(context: typer.Context) -> None:
    """Raise SettingError where somebody set what a saved task has no use for."""
    sources_of = {what: context.get_parameter_source(what) for what in _RANDOM}
    odd = [
        f"--{what}"
        for what, source in sources_of.items()
        if source is not None and source.name == "COMMANDLINE"
    ]
    if odd:
        raise SettingError(
            f"{', '.join(odd)}: settings of random tasks, but this is a saved task, which is asked DATA as it is: leave "
            "them out"
        )


def _told(judged: list[Judged]) -> dict[str, Any]:
    """Say it for people; returns the figures for programs."""
    own, strangers = [j for j in judged if not j.stranger], [j for j in judged if j.stranger]
    hits, refused = sum(j.hit for j in own), sum(j.answer.unknown for j in own)
    noticed = sum(j.answer.unknown for j in strangers)
    if own:
        _tables(own)
        low, high = wilson(hits, len(own))
        say(f"{hits} of {len(own)} right: {100 * hits / len(own):.1f} % (95 %: {100 * low:.0f} to {100 * high:.0f} %). "
            f"{refused} of them were called unknown; the best guess counts here all the same.")  # fmt: skip
    if strangers:
        say(
            f"{len(strangers)} more have labels that the task was not taught; {noticed} of them were called unknown."
        )
    figures: dict[str, Any] = {
        "kshot": 100 * hits / len(own) if own else None,
        "right": hits,
        "asked": len(own),
    }
    if own:
        figures |= {"low": 100 * low, "high": 100 * high}
    return {
        **figures, "unknown": refused, "strangers": len(strangers), "strangers_unknown": noticed,
        "wrong": [j.answer.name for j in own if not j.hit],
    }  # fmt: skip


def _tables(own: list[Judged]) -> None:
    wrong = [j for j in own if not j.hit]
    labels = sorted({str(j.right) for j in own})
    show_table(
        ["class", "right", "of", "mostly taken for"], [_row(label, own) for label in labels], right=[1, 2]
    )
    if wrong:
        say("")
        rows = [[j.answer.name, short(j.answer.asked, 60), str(j.right), str(j.answer.label)] for j in wrong]
        show_table(["wrong", "", "right is", "answered"], rows[:_SHOWN])
    if len(wrong) > _SHOWN:
        say(f"... and {len(wrong) - _SHOWN} more")


def _row(label: str, own: Iterable[Judged]) -> list[str]:
    mine = [j for j in own if str(j.right) == label]
    others = [str(j.answer.label) for j in mine if not j.hit]
    most = max(sorted(set(others)), key=others.count, default="")
    return [label, str(sum(j.hit for j in mine)), str(len(mine)), most]
