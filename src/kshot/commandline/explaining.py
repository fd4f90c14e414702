"""The command explain: why one answer, or what a whole task knows of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from kshot.commandline import marked, sources
from kshot.commandline.answers import Answer, answer_all, doubt, short
from kshot.commandline.columns import Columns, InputOption
from kshot.commandline.output import console, finish, guarded, say
from kshot.commandline.pieces import is_pieces, page_parts, say_pieces
from kshot.commandline.questions import Question, TextOption, all_questions, one_question
from kshot.commandline.use import BaseOption, Json, TaskArgument
from kshot.errors import SettingError
from kshot.evaluation.page import grid, note, page, section
from kshot.explanation import (
    attribute,
    attribution_map,
    change_bars,
    changes,
    evidence,
    evidence_bars,
    gallery,
)
from kshot.learners import Adapted, Explanation, SuspectLabel
from kshot.storage import replace_file
from kshot.tasks.spaces import Classes, Pieces, Spans

_MOST = 20


@guarded
def explain(
    task: TaskArgument,
    asked: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT",
            help="One picture, or a table or array of rows; left out: what the task knows of itself.",
        ),
    ] = None,
    row: Annotated[
        int | None, typer.Option(help="Which row of a table or array, from 1; needed where it has several.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with the pictures.")] = None,
    most: Annotated[int, typer.Option(help="How many examples to name; the strongest come first.")] = 10,
    text: TextOption = None,
    input: InputOption = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Say which of the taught examples decided the answer to one picture or row, and by how much.

    Without INPUT: how good the task is by its own examples, which labels look wrong, what adapting changed.

    Example:  kshot explain stamps.kshot new.png --html why.html
    """
    ready = sources.task_of(task, base)
    if most < 1:
        raise SettingError(f"--most is {most}; name at least 1 example")
    if text:
        own = all_questions(ready.learner.encoder, [asked] if asked else [], text, Columns())
        for question in own:
            _one_answer(ready, question, most, html, as_json)
        return
    if asked is None:
        if row is not None:
            raise SettingError(
                f"--row is {row}, but no table was named: kshot explain {task} TABLE --row {row}"
            )
        _the_task(ready, Path(task).name, html, as_json)
        return
    question = one_question(ready.learner.encoder, asked, row, Columns.asked(input, base=ready.learner))
    _one_answer(ready, question, most, html, as_json)


def _one_answer(ready: Adapted, question: Question, most: int, html: Path | None, as_json: bool) -> None:
    if isinstance(ready.space, Spans):
        marked.why(ready, question, html, as_json)
        return
    found = ready.explain([question.input])
    answer = next(answer_all(ready, [question]))
    if is_pieces(ready):
        _all_pieces(ready, question, found, html, as_json)
        return
    hedge = f" ({doubt(answer)})" if doubt(answer) else ""
    say(
        f"Answer: {found.label}{hedge}, probability {100 * found.probability:.0f} %. The examples that decided it:"
    )
    _say_evidence(ready, found, most)
    say(
        f"Points: how far the probability would fall without the example. {found.method[:1].upper()}{found.method[1:]}."
    )
    if html:
        replace_file(html, _answer_page(ready, question, answer, found).encode())
        say(f"With pictures: {html}")
    strongest = found.evidence[0]
    finish(
        {"kshot": found.probability, "label": found.label, "unknown": answer.unknown,
         **({"set": list(answer.among)} if answer.among else {}), "strongest": strongest.id,
         "contribution": strongest.contribution, "html": html}, as_json,
    )  # fmt: skip


def _say_evidence(ready: Adapted, found: Explanation, most: int) -> None:
    """The strongest examples as bars, texts beside them, and how many there are besides."""
    unicode = (console().encoding or "").lower().startswith("utf")
    texts = {name: item for name, item in zip(ready.ids, ready.inputs, strict=True) if isinstance(item, str)}
    for line, e in zip(evidence_bars(found, most=most, unicode=unicode), found.evidence, strict=False):
        said = f"  “{short(texts[e.id], 60)}”" if e.id in texts else ""
        say(f"  {line}{said}")
    if len(found.evidence) > most:
        say(f"  ... and {len(found.evidence) - most} more (--most {len(found.evidence)} names all).")


def _all_pieces(
    ready: Adapted, question: Question, found: Explanation, html: Path | None, as_json: bool
) -> None:
    say_pieces(found, unicode=(console().encoding or "").lower().startswith("utf"))
    name = Path(question.name).name
    if html:
        shown = ready.learner.encoder.read([question.input])[0]
        lead = f"{name}: {len(found.pieces)} found, {len(found.unknown)} unknown."
        whole = page("Why these?", lead, page_parts(ready, shown, name, found), "Made by kshot explain.")
        replace_file(html, whole.encode())
        say(f"With pictures: {html}")
    strongest = found.evidence[0]
    finish(
        {"kshot": len(found.pieces), "unknown": len(found.unknown), "label": found.label,
         "probability": found.probability, "strongest": strongest.id, "contribution": strongest.contribution,
         "html": html}, as_json,
    )  # fmt: skip


def _answer_page(task: Adapted, question: Question, answer: Answer, found: Explanation) -> str:
    shown, name = task.learner.encoder.read([question.input])[0], Path(question.name).name
    lead = f"{name} was answered with “{found.label}”, probability {100 * found.probability:.0f} %."
    parts = [_question(task, question, shown, name)]
    if answer.unknown or answer.among:
        parts.append(_sureness(answer))
    parts.append(
        section(
            "The examples that decided it",
            "Each bar says by how many points the probability would fall had the example never been shown. Green "
            "examples spoke for the answer, red ones against it.",
            evidence(task, found, most=_MOST),
            note(f"{found.method[:1].upper()}{found.method[1:]}."),
        )
    )
    return page("Why this answer?", lead, [*parts, *_about(task)], "Made by kshot explain.")


def _question(task: Adapted, question: Question, shown: Any, name: str) -> str:
    """What was asked, and which parts of it the answer hangs on where that can be said."""
    if isinstance(shown, str):
        return section("What was asked", short(shown))
    picture = isinstance(shown, Tensor) and shown.ndim == 3
    asked = (
        section("The picture", "", gallery([shown], [name], side=140))
        if picture
        else section("What was asked", ", ".join(f"{value:.6g}" for value in shown.tolist()))
    )
    if not isinstance(task.space, Classes):
        return asked
    covered = "One window of the picture after another was covered."
    replaced = "Each number was set to its mean over the examples."
    parts = section(
        "What the answer hangs on",
        f"{covered if picture else replaced} Green: the probability of the answer falls; red: it rises.",
        attribution_map(shown, attribute(task, [question.input])),
    )
    return parts if picture else asked + parts


def _sureness(answer: Answer) -> str:
    among = ", ".join(map(str, answer.among))
    sentences = [f"Nine times out of ten the right class is among: {among}."] if among else []
    if answer.unknown:
        sentences.insert(0, "It looks like none of the classes that were taught: the answer is “unknown”.")
    return section("How sure?", " ".join(sentences))


def _the_task(task: Adapted, name: str, html: Path | None, as_json: bool) -> None:
    estimate, suspects = _judged(task)
    say(f"{name}: {len(task)} examples.")
    for line in (*estimate, *map(_suspicion, suspects), changes(task).text):
        say(line)
    if html:
        lead = f"{name}: what the task says of itself, from its {len(task)} examples."
        replace_file(html, page("About this task", lead, _about(task), "Made by kshot explain.").encode())
        say(f"As a page: {html}")
    own = task.self_estimate() if estimate else None
    finish(
        {"kshot": len(task), "accuracy": own and own.accuracy, "low": own and own.low, "high": own and own.high,
         "suspects": [{"id": s.id, "label": s.label, "suggested": s.suggested, "chance": s.chance} for s in suspects],
         "html": html}, as_json,
    )  # fmt: skip


def _judged(task: Adapted) -> tuple[list[str], list[SuspectLabel]]:
    """The self-estimate in words and the suspect labels; nothing where the answers are neither classes nor pieces."""
    if not isinstance(task.space, Classes | Pieces):
        return [], []
    return [str(task.self_estimate())], task.suspect_labels()


def _suspicion(suspect: SuspectLabel) -> str:
    return (
        f"Is {suspect.id} really “{suspect.label}”? The others say “{suspect.suggested}” "
        f"(chance of a wrong label {_percent(suspect.chance)})."
    )


def _pictures(task: Adapted, suspects: list[SuspectLabel]) -> str:
    """The examples themselves, where they are pictures."""
    places = {name: place for place, name in enumerate(task.ids)}
    items = [(task.inputs[places[s.id]], f"{s.id}: {s.label}") for s in suspects]
    drawn = [(item, name) for item, name in items if isinstance(item, Tensor) and item.ndim == 3]
    return gallery([item for item, _ in drawn], [name for _, name in drawn], side=80) if drawn else ""


def _percent(chance: float) -> str:
    return "over 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"


def _about(task: Adapted) -> list[str]:
    """Sections about the task itself: how good, which labels look wrong, what adapting changed."""
    estimate, suspects = _judged(task)
    parts = [section("How good is this task?", " ".join(estimate))] if estimate else []
    if estimate:
        shown = _pictures(task, suspects[:_MOST])
        rows = [[s.id, str(s.label), str(s.suggested), _percent(s.chance)] for s in suspects[:_MOST]]
        head = ["example", "its label", "the others say", "chance that the label is wrong"]
        parts.append(
            section("Labels to look at again", "", grid(head, rows, numeric=[3]), shown)
            if rows
            else section("Labels to look at again", "No label looks wrong.")
        )
    return [*parts, section("What adapting changed", "", change_bars(changes(task)))]
