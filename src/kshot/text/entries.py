"""What a bank of answers holds, and what it replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kshot.errors import DataError
from kshot.text.texts import read_texts


@dataclass(frozen=True)
class Entry:
    """An answer and how people ask for it.

    Attributes:
        id: its name. answer: the text. questions: any number of them; an entry without is found by its answer.
    """

    id: str
    answer: str
    questions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON knows it."""
        return {"id": self.id, "answer": self.answer, "questions": list(self.questions)}


@dataclass(frozen=True)
class Support:
    """A text of the bank that is near a message.

    Attributes:
        id: its entry. field: "question" or "answer". text: the text itself.
        words: BM25 between the two. meaning: likeness of their features (`likeness.Meaning`). score: both, by the bank's mix.
    """

    id: str
    field: str
    text: str
    words: float
    meaning: float
    score: float


@dataclass(frozen=True)
class Reply:
    """What a bank replies to one message.

    Attributes:
        message: what was asked. id, answer: the entry that fits best.
        unknown: no entry fits well enough; `answer` is then only the nearest.
        score: how well it fits, a logit. probability: that it is the right entry, if one of them is.
        learned: the part of the score that feedback on replies made.
        ranking: ids of the best entries, best first. supports: the nearest texts, nearest first.
    """

    message: str
    id: str
    answer: str
    unknown: bool
    score: float
    probability: float
    learned: float
    ranking: tuple[str, ...]
    supports: tuple[Support, ...]


def checked_entries(given: Iterable[Any], taken: Sequence[str] = ()) -> tuple[Entry, ...]:
    """Entries out of `Entry` objects, (question or questions, answer) pairs, or mappings as in JSON.

    Those without an id get the first free of a0, a1, ...

    Raises:
        DataError: no entries, a repeated id, a text that is empty or none.

    >>> checked_entries([("where is my card?", "Under 'Cards'."), {"id": "fees", "answer": "Nothing."}])[0].id
    'a0'
    """
    if isinstance(given, Entry | str | Mapping):
        raise DataError(
            f"entries are a {type(given).__name__}; give a list of entries"
            + (", of {question: answer} list(d.items())" if isinstance(given, Mapping) else "")
        )
    read = [_entry(item, place) for place, item in enumerate(given)]
    if not read:
        raise DataError(
            f"{len(read)} entries; give at least one, for example [('where is my card?', 'On its way.')]"
        )
    used = {*taken, *(entry.id for entry in read if entry.id)}
    fresh = (name for name in (f"a{n}" for n in range(len(used) + len(read) + 1)) if name not in used)
    named = [entry if entry.id else Entry(next(fresh), entry.answer, entry.questions) for entry in read]
    seen = set(taken)
    for entry in named:
        if entry.id in seen:
            raise DataError(
                f"id {entry.id!r} is there twice; each entry has an id of its own: choose another"
            )
        seen.add(entry.id)
    return tuple(named)


def _entry(item: Any, place: int) -> Entry:
    if isinstance(item, Entry):
        found = {"id": item.id, "answer": item.answer, "questions": item.questions}
    elif isinstance(item, Mapping):
        found = dict(item)
    elif isinstance(item, tuple | list) and len(item) == 2:
        found = {"questions": item[0], "answer": item[1]}
    else:
        raise DataError(
            f"entry {place} is {str(item)[:40]!r}; give (question, answer), an Entry, or a mapping with 'answer' and "
            "'questions'"
        )
    questions = found.get("questions", found.get("question", ()))
    try:
        asked = read_texts(questions if questions is not None else ())
        answer = read_texts([found.get("answer")])[0]
    except DataError as cause:
        raise DataError(f"entry {place}: {cause}") from None
    name = found.get("id", "")
    if not isinstance(name, str):
        raise DataError(
            f"entry {place} has the id {name!r}, a {type(name).__name__}; an id is a str: give str(id)"
        )
    return Entry(name, answer, tuple(asked))
