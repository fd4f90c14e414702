"""The command predict: ask a saved task, or a saved bank of answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline import marked, replying, sources
from kshot.commandline.answers import Answer, Skipped, answer_all, doubt, say_summary, short, write_csv
from kshot.commandline.columns import Columns, InputOption
from kshot.commandline.output import finish, guarded, show_table
from kshot.commandline.questions import TextOption, all_questions
from kshot.commandline.use import BaseOption, Json
from kshot.learners import Adapted
from kshot.tasks.spaces import Classes, Pieces, Spans

_SHOWN = 40


@guarded
def predict(
    task: Annotated[str, typer.Argument(help="A task saved by kshot adapt, or a saved bank of answers.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Pictures or folders of pictures; tables of picture paths, numbers or texts (.csv, .tsv, .jsonl); arrays "
            "(.npy, .npz)."
        ),
    ] = None,
    text: TextOption = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all answers to this file.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Name and count unreadable inputs instead of stopping.")
    ] = False,
    refused: Annotated[
        float | None,
        typer.Option(
            help="Share of known inputs that may wrongly be called unknown; more also refuses more strangers."
        ),
    ] = None,
    input: InputOption = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Answer pictures, texts or rows of numbers with a saved task, one or many thousands.

    "unknown" means: this looks like none of the classes. "or ...": with the answer, these classes hold the right
    one nine times out of ten, over tasks like those that the base was calibrated on. A bank of answers replies, with
    the texts of the bank that are nearest.

    Example:  kshot predict stamps.kshot new_pictures/ --csv answers.csv
    """
    skipped = Skipped()
    if sources.is_bank(task):
        bank, own = sources.bank_of(task, base), Columns(tuple(input or ()), kind="text")
        asked = all_questions(bank.encoder, paths or [], text or [], own)
        replying.reply_all(bank, asked, csv, skipped if skip_unreadable else None, refused, as_json)
        return
    ready = sources.task_of(task, base)
    columns = Columns.asked(input, base=ready.learner)
    asked = all_questions(ready.learner.encoder, paths or [], text or [], columns)
    if isinstance(ready.space, Spans):
        marked.find(ready, asked, csv, as_json)
        return
    answers = answer_all(ready, asked, skipped if skip_unreadable else None, refused)
    shown, unknown, among = list[Answer](), 0, 0

    def watched() -> Any:
        nonlocal unknown, among
        for answer in answers:
            unknown, among = unknown + answer.unknown, among + len(answer.among)
            if len(shown) < _SHOWN:
                shown.append(answer)
            yield answer

    count = write_csv(ready, watched(), csv) if csv else sum(1 for _ in watched())
    _show_answers(ready, shown)
    say_summary(count, len(shown), unknown, skipped, csv)
    sets = {"set_size": among / count} if among and count else {}
    finish({"kshot": count, "unknown": unknown, **sets, "skipped": len(skipped.reasons), "csv": csv}, as_json)


def _show_answers(task: Adapted, shown: list[Answer]) -> None:
    first = "file" if task.learner.encoder.modality == "image" else "row"
    if isinstance(task.space, Classes):
        rows = [[a.name, str(a.label), f"{100 * a.sure:.0f} %", doubt(a), short(a.asked, 60)] for a in shown]
        show_table([first, "answer", "sure", "", ""], rows, right=[2])
    elif isinstance(task.space, Pieces):
        show_table([first, "found"], [[a.name, str(a.label)] for a in shown])
    else:
        rows = [[a.name, str(a.label), "" if math.isnan(a.sure) else f"{a.sure:.3g}"] for a in shown]
        show_table([first, "answer", "give or take"], rows, right=[1, 2])
