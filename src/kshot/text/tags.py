"""Marked spans as tags of tokens (IOB2) and back, and the entity F1 of both.

Ramshaw and Marcus (1995), "Text chunking using transformation-based learning"; Tjong Kim Sang and De Meulder (2003),
"Introduction to the CoNLL-2003 shared task", whose script's reading of broken tags is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kshot.errors import DataError
from kshot.text.hashed import SPACELESS
from kshot.text.units import units

Marked = tuple[int, int, str]
"""First character, the one behind the last, label."""

_WORD, _SPACELESS = re.compile(r"\S+"), re.compile(f"[{SPACELESS}]")


def chunks(tags: Sequence[str]) -> list[Marked]:
    """The entities of IOB1, IOB2, IOE or IOBES tags: first token, the one behind the last, label.

    An I that follows no entity of its label begins one, as in the CoNLL script and in seqeval.

    >>> chunks(["B-person", "I-person", "O", "I-place"])
    [(0, 2, 'person'), (3, 4, 'place')]
    """
    found: list[Marked] = []
    begin, before, inside = 0, "", "O"
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, label = tag.partition("-")
        label = label or "_"
        open_ = inside not in ("O", "E", "S", "L", "U") and place > 0
        goes_on = open_ and prefix in ("I", "E", "L") and label == before
        if inside != "O" and not goes_on:
            found.append((begin, place, before))
        if prefix != "O" and not goes_on:
            begin = place
        before, inside = label, prefix
    return found


def spans_of_tags(tokens: Sequence[str], tags: Sequence[str]) -> tuple[str, list[Marked]]:
    """Tokens, joined by spaces, and their tags as a text with marked spans.

    Raises:
        DataError: an unequal number of both, an empty token, or a tag that is none.

    >>> spans_of_tags(["Ada", "Lovelace", "wrote"], ["B-person", "I-person", "O"])
    ('Ada Lovelace wrote', [(0, 12, 'person')])
    """
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens came with {len(tags)} tags; give one tag for each token")
    for place, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        if not token.strip():
            raise DataError(
                f"token {place} is {token!r}; a token has a visible character: leave it out with its tag"
            )
        if not re.fullmatch(r"O|[BIESLU]-.+", tag):
            raise DataError(f"tag {place} is {tag!r}; tags are O, B-LABEL, I-LABEL (or E-, S-, L-, U-LABEL)")
    starts, end = [], 0
    for token in tokens:
        starts.append(end)
        end += len(token) + 1
    spans = [(starts[a], starts[b - 1] + len(tokens[b - 1]), label) for a, b, label in chunks(tags)]
    return " ".join(tokens), spans


def tags_of_spans(text: str, spans: Iterable[Sequence[Any]]) -> tuple[list[str], list[str]]:
    """A text and its marked spans as tokens and their IOB2 tags.

    Tokens are what spaces divide, cut where a span begins or ends inside; in scripts without spaces, characters.

    Raises:
        DataError: spans that overlap or lie outside of the text.

    >>> tags_of_spans("Ada's notes", [(0, 3, "person")])
    (['Ada', "'s", 'notes'], ['B-person', 'O', 'O'])
    """
    marked = sorted((int(s), int(e), str(label)) for s, e, label, *_ in spans)
    for one, other in pairwise(marked):
        if other[0] < one[1]:
            raise DataError(f"spans {one} and {other} overlap; IOB2 tags a token once: keep one of them")
    if marked and not 0 <= marked[0][0] < marked[-1][1] <= len(text):
        raise DataError(f"spans {marked[0]} to {marked[-1]} do not lie in a text of {len(text)} characters")
    cuts = {edge for start, end, _ in marked for edge in (start, end)}
    pieces = [piece for word in _WORD.finditer(text) for piece in _pieces(word, cuts)]
    tags, place = [], 0
    for start, end in pieces:
        while place < len(marked) and marked[place][1] <= start:
            place += 1
        inside = place < len(marked) and marked[place][0] < end
        tags.append("O" if not inside else f"{'BI'[start > marked[place][0]]}-{marked[place][2]}")
    return [text[a:b] for a, b in pieces], tags


def _pieces(word: re.Match[str], cuts: set[int]) -> list[tuple[int, int]]:
    start, end = word.span()
    if _SPACELESS.search(word[0]):
        cuts = cuts | {start + edge for unit in units(word[0]) for edge in unit}
    edges = [start, *sorted(cut for cut in cuts if start < cut < end), end]
    return list(pairwise(edges))


@dataclass(frozen=True)
class EntityScores:
    """Exact-match figures, pooled over all entities (micro).

    Attributes:
        precision, recall, f1: shares; 0 where there is nothing to divide by.
        right, found, gold: counts.
        by_label: F1 of each label.
    """

    precision: float
    recall: float
    f1: float
    right: int
    found: int
    gold: int
    by_label: dict[str, float]


def entity_f1(
    gold: Sequence[Iterable[Sequence[Any]]], found: Sequence[Iterable[Sequence[Any]]]
) -> EntityScores:
    """Micro F1 of entities: one is right where start, end and label are; equal to seqeval's on IOB2 tags.

    Args:
        gold, found: for each text its (start, end, label); further columns are not looked at.

    Raises:
        DataError: an unequal number of texts.

    >>> entity_f1([[(0, 3, "person"), (8, 9, "place")]], [[(0, 3, "person"), (4, 7, "place")]]).f1
    0.5
    """
    if len(gold) != len(found):
        raise DataError(
            f"{len(gold)} texts with wanted spans, {len(found)} with found ones; give both for each text"
        )
    want = {(n, *tuple(span)[:3]) for n, spans in enumerate(gold) for span in spans}
    have = {(n, *tuple(span)[:3]) for n, spans in enumerate(found) for span in spans}
    labels = sorted({one[3] for one in want | have}, key=str)
    each = {
        label: _f1([one for one in want if one[3] == label], [one for one in have if one[3] == label])[2]
        for label in labels
    }
    return EntityScores(*_f1(want, have), len(want & have), len(have), len(want), each)


def _f1(want: Iterable[Any], have: Iterable[Any]) -> tuple[float, float, float]:
    wanted, had = set(want), set(have)
    right = len(wanted & had)
    precision, recall = right / max(len(had), 1), right / max(len(wanted), 1)
    return precision, recall, 2 * right / max(len(wanted) + len(had), 1)
