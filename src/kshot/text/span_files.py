"""Marked texts from files and to files: CoNLL (IOB2), JSON lines, spaCy's offsets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kshot.errors import DataError
from kshot.storage import replace_file
from kshot.tasks import Examples
from kshot.text.tags import Marked, spans_of_tags, tags_of_spans

CONLL = (".conll", ".iob", ".iob2", ".bio", ".tsv", ".txt")
LISTS = ("spans", "entities", "ents", "label", "labels")
"""Where JSON lines of kshot, spaCy, Prodigy and doccano keep a text's spans."""


def read_spans(path: str | Path) -> Examples:
    """Marked texts of a file: CoNLL or IOB2 (.conll, .iob, .bio, .txt), JSON lines (.jsonl) or spaCy's JSON (.json).

    Returns:
        Inputs are texts, targets a list of (start, end, label) for each.

    Raises:
        DataError: no such file, or a line that cannot be read; it is named.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> path = folder / "people.conll"
    >>> _ = path.write_text("Ada\\tB-person\\nwrote\\tO\\n")
    >>> read_spans(path).targets
    [[(0, 3, 'person')]]
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"{file} cannot be read ({cause}); give a file of marked texts in UTF-8") from cause
    if file.suffix == ".jsonl":
        return from_spacy(list(_json_lines(text, file)))
    if file.suffix == ".json":
        return from_spacy(_json(text, str(file)))
    if file.suffix in CONLL:
        return _conll(text, file)
    raise DataError(f"{file} ends in {file.suffix!r}; marked texts are {', '.join(CONLL)}, .jsonl or .json")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as cause:
        raise DataError(
            f"{where} is no JSON ({cause}); check it, or write one object a line to a .jsonl file"
        ) from None


def _json_lines(text: str, file: Path) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _json(line, f"{file}, line {number},")


def _conll(text: str, file: Path) -> Examples:
    """Columns by tab or space, the token first and its tag last; an empty line ends a text."""
    texts, targets = [], []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        columns = line.split("\t") if "\t" in line else line.split()
        if line.startswith("-DOCSTART-") or (line.startswith("# ") and len(columns) != 2):
            continue
        if line.strip():
            if len(columns) < 2:
                raise DataError(
                    f"{file}, line {number}: {line!r} has one column; give a token, a tab and its tag"
                )
            tokens.append(columns[0].strip())
            tags.append(columns[-1].strip())
        elif tokens:
            try:
                one, spans = spans_of_tags(tokens, tags)
            except DataError as cause:
                raise DataError(f"{file}, text that ends in line {number - 1}: {cause}") from None
            texts.append(one)
            targets.append(spans)
            tokens, tags = [], []
    return Examples(texts, targets)


def write_spans(path: str | Path, texts: Sequence[str], spans: Sequence[Iterable[Sequence[Any]]]) -> Path:
    """Marked texts to a file, in the format that its ending names (see `read_spans`); written whole or not at all.

    Raises:
        DataError: another ending, or spans that IOB2 cannot say.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> path = write_spans(folder / "people.iob", ["Ada wrote"], [[(0, 3, "person")]])
    >>> path.read_text()
    'Ada\\tB-person\\nwrote\\tO\\n\\n'
    """
    file, examples = Path(path), Examples(list(texts), [list(one) for one in spans])
    if file.suffix == ".jsonl":
        rows = [{"text": t, "entities": _plain(s)} for t, s in zip(texts, examples.targets, strict=True)]
        written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif file.suffix == ".json":
        written = json.dumps(to_spacy(texts, examples.targets), ensure_ascii=False)
    elif file.suffix in CONLL:
        written = "".join(
            "".join(f"{token}\t{tag}\n" for token, tag in zip(*tags_of_spans(t, s), strict=True)) + "\n"
            for t, s in zip(texts, examples.targets, strict=True)
        )
    else:
        raise DataError(
            f"{file} ends in {file.suffix!r}; marked texts are {', '.join(CONLL)}, .jsonl or .json"
        )
    replace_file(file, written.encode())
    return file


def _plain(spans: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [[int(start), int(end), label] for start, end, label, *_ in spans]


def to_spacy(
    texts: Sequence[str], spans: Sequence[Iterable[Sequence[Any]]]
) -> list[tuple[str, dict[str, list[Marked]]]]:
    """Marked texts as spaCy's training data: (text, {"entities": [(start, end, label)]}).

    >>> to_spacy(["Ada wrote"], [[(0, 3, "person")]])
    [('Ada wrote', {'entities': [(0, 3, 'person')]})]
    """
    examples = Examples(texts, spans)
    return [
        (text, {"entities": [(int(s), int(e), str(label)) for s, e, label, *_ in own]})
        for text, own in zip(examples.inputs, examples.targets, strict=True)
    ]


def from_spacy(data: Iterable[Any]) -> Examples:
    """Marked texts from spaCy's training data, from its Docs, or from JSON objects.

    Takes (text, {"entities": [(start, end, label)]}), Doc objects, (text, spans), and {"text", "spans" or "entities" or
    "label"} whose spans are lists or {"start", "end", "label"}, as Prodigy and doccano write them.

    Raises:
        DataError: an item that is none of these; it is named.

    >>> from_spacy([("Ada wrote", {"entities": [(0, 3, "person")]})]).targets
    [[(0, 3, 'person')]]
    """
    texts, targets = [], []
    for place, item in enumerate(data):
        text, spans = _pair(item, place)
        texts.append(text)
        targets.append([_span(span, place) for span in spans])
    return Examples(texts, targets)


def _pair(item: Any, place: int) -> tuple[str, Any]:
    if hasattr(item, "ents") and hasattr(item, "text"):
        return item.text, [(e.start_char, e.end_char, e.label_) for e in item.ents]
    found: Any = item
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str):
        found = item[1] if isinstance(item[1], dict) else {"spans": item[1]}
        found = {"text": item[0], **found}
    if isinstance(found, dict) and isinstance(found.get("text"), str):
        named = [found[name] for name in LISTS if isinstance(found.get(name), list | tuple)]
        if named:
            return found["text"], named[0]
    raise DataError(
        f"item {place} is {str(item)[:60]!r}; give (text, {{'entities': [(start, end, label)]}}), or an object with "
        "'text' and 'spans'"
    )


def _span(span: Any, place: int) -> Marked:
    if isinstance(span, dict):
        span = [
            span.get("start", span.get("start_offset")),
            span.get("end", span.get("end_offset")),
            span.get("label"),
        ]
    if (
        not isinstance(span, list | tuple)
        or len(span) < 3
        or not all(isinstance(edge, int) for edge in span[:2])
    ):
        raise DataError(f"a span of item {place} is {span!r}; give (start, end, label), places of characters")
    return (span[0], span[1], span[2])
