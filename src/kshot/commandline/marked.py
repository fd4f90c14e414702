"""The commands on marked texts: entities are taught, found and explained."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kshot import text
from kshot.commandline import sources
from kshot.commandline.columns import Columns
from kshot.commandline.golden import with_golden
from kshot.commandline.output import finish, say, show_table
from kshot.commandline.questions import Question
from kshot.evaluation.page import grid, note, page, section
from kshot.explanation import marked_html, marked_line
from kshot.learners import Adapted, Explanation, Learner
from kshot.storage import replace_file
from kshot.tasks import Examples
from kshot.tasks.spaces import Spans
from kshot.text.span_files import CONLL, LISTS

_SHOWN, _EVIDENCE = 40, 5


def is_marked(name: str | Path) -> bool:
    """Does a file hold marked texts: CoNLL or IOB2, or JSON lines whose first has a text and a list of spans?"""
    path = Path(name)
    if not path.is_file():
        return False
    if path.suffix in CONLL and path.suffix not in (".tsv", ".txt"):
        return True
    if path.suffix != ".jsonl":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as rows:
        first = next((row for row in rows if row.strip()), "")
    try:
        found = json.loads(first)
    except ValueError:
        return False
    return (
        isinstance(found, dict)
        and isinstance(found.get("text"), str)
        and any(isinstance(found.get(key), list) for key in LISTS)
    )


def learner_for(name: str) -> Learner:
    """A base by name or path; a text encoder's name is a learner of entities on it."""
    return text.entities(name) if not Path(name).exists() and text.is_spec(name) else sources.base_of(name)


def teach(base: str, file: str, out: Path, golden: str | None, small: bool, as_json: bool) -> None:
    """`kshot adapt` for a file of marked texts."""
    learner, examples = learner_for(base), text.read_spans(file)
    start = time.perf_counter()
    task = learner.adapt(examples)
    seconds = time.perf_counter() - start
    task = with_golden(task, golden, Columns())
    task.save(out, include_base=not small)
    counts = counted(task.targets)
    say(
        f"Learned {len(counts)} kinds of entities from {len(task)} texts in {1000 * seconds:.0f} ms; saved as {out}."
    )
    show_table(["kind", "marked"], [[kind, str(n)] for kind, n in sorted(counts.items())[:_SHOWN]], right=[1])
    say(
        f"Next: kshot predict {out} --text 'a text', or a table of texts; --csv found.jsonl or found.iob keeps them"
    )
    finish(
        {"kshot": len(task), "kinds": len(counts), "marked": sum(counts.values()), "milliseconds": 1000 * seconds,
         "file": str(out)}, as_json,
    )  # fmt: skip


def counted(targets: Iterable[Any]) -> Counter[str]:
    """How often each label is marked."""
    return Counter(str(label) for spans in targets for *_, label in spans if label is not None)


def marked_examples(file: str) -> Examples:
    """Marked texts as `add` and `with_golden` take them."""
    return text.read_spans(file)


def find(task: Adapted, asked: Iterable[Question], out: Path | None, as_json: bool) -> None:
    """`kshot predict` for entities: each text with what was found in it."""
    questions = list(asked)
    texts = [task.learner.encoder.read([question.input])[0] for question in questions]
    found = task.predict(texts)
    unknown = found.unknown or [[] for _ in texts]
    if out:
        _write(out, texts, found.spans, [question.name for question in questions])
    for question, one, spans, others in list(zip(questions, texts, found.spans, unknown, strict=True))[
        :_SHOWN
    ]:
        say(
            f"{question.name}: {marked_line(' '.join(one.split()) if not spans and not others else one, spans, others)}"
        )
    if len(texts) > _SHOWN:
        say(
            f"... and {len(texts) - _SHOWN} more"
            + ("." if out else "; write them all to a file with --csv found.jsonl")
        )
    total, refused = sum(map(len, found.spans)), sum(map(len, unknown))
    say(f"{len(texts)} texts, {total} entities found, {refused} unknown.")
    finish({"kshot": len(texts), "found": total, "unknown": refused, "csv": out}, as_json)


def _write(out: Path, texts: Sequence[str], spans: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    if out.suffix != ".csv":
        text.write_spans(out, texts, spans)
        return
    rows = [
        [name, str(s.start), str(s.end), str(s.label), f"{s.probability:.4f}", one[s.start : s.end]]
        for name, one, own in zip(names, texts, spans, strict=True)
        for s in own
    ]
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows([["input", "start", "end", "label", "probability", "entity"], *rows])
    replace_file(out, lines.getvalue().encode())


def why(task: Adapted, question: Question, html: Path | None, as_json: bool) -> None:
    """`kshot explain` for entities: for each, the marked texts that decided it."""
    one = task.learner.encoder.read([question.input])[0]
    found = task.explain([one])
    say(marked_line(one, [piece.place for piece in found.pieces], found.unknown))
    if not found.pieces:
        say("Nothing was found.")
    for piece in found.pieces:
        place = piece.place
        say(
            f"{one[place.start : place.end]}: {piece.label}, probability {100 * piece.probability:.0f} %, because of"
        )
        for e in piece.evidence[:_EVIDENCE]:
            say(f"  {100 * e.contribution:+6.1f} points  {e.id}: {marked_line(*_example(task, e.id))}")
    say(
        f"Points: how far the probability would fall without the example. {found.method[:1].upper()}{found.method[1:]}."
    )
    if html:
        replace_file(html, entities_page(task, one, found).encode())
        say(f"With marked texts: {html}")
    finish(
        {"kshot": found.probability, "label": found.label, "found": len(found.pieces), "unknown": len(found.unknown),
         "strongest": found.evidence[0].id if len(found.evidence) else None, "html": html}, as_json,
    )  # fmt: skip


def _example(task: Adapted, name: str) -> tuple[str, list[Any], list[Any]]:
    """An example's text, its named spans, and those without a name."""
    place = task.ids.index(name)
    spans = task.targets[place]
    return task.inputs[place], [s for s in spans if s[2] is not None], [s for s in spans if s[2] is None]


def _shown_example(task: Adapted, name: str) -> str:
    one, spans, unnamed = _example(task, name)
    return marked_html(one, spans, task.space.labels, unnamed)  # type: ignore[attr-defined]


def entities_page(task: Adapted, one: str, found: Explanation) -> str:
    """Why entities were found, as a page with marked texts."""
    assert isinstance(task.space, Spans)
    labels = task.space.labels
    lead = f"{len(found.pieces)} found, {len(found.unknown)} refused as unknown."
    parts = [
        section(
            "The text", "", marked_html(one, [piece.place for piece in found.pieces], labels, found.unknown)
        )
    ]
    for piece in found.pieces:
        place = piece.place
        shown = [
            f"<p class='note'>{100 * e.contribution:+.1f} points</p>{_shown_example(task, e.id)}"
            for e in piece.evidence[:_EVIDENCE]
        ]
        said = f"probability {100 * piece.probability:.0f} %. The marked texts that decided it, the strongest first:"
        parts.append(section(f"“{one[place.start : place.end]}” is “{piece.label}”", said, *shown))
    rows = [[label, str(count)] for label, count in sorted(counted(task.targets).items())]
    parts.append(section("What was taught", "", grid(["kind", "marked"], rows, numeric=[1])))
    return page(
        "Why these entities?",
        lead,
        [*parts, note(f"{found.method[:1].upper()}{found.method[1:]}.")],
        "Made by kshot explain.",
    )
