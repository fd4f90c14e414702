"""Sentences that kshot writes itself, with their entities marked: data for tests, the demo and the finder it ships.

Names are put together from syllables, so that nobody real is meant and no name is seen twice.
"""

from __future__ import annotations

import torch

from kshot.errors import SettingError
from kshot.tasks import Examples

_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ei", "ia", "oo", "ou"]
_CODAS = ["", "", "", "n", "r", "l", "s", "m", "nd", "rt", "ck", "ll", "x"]
_ROLES = ["Dr", "Mr", "Ms", "Mrs", "Professor", "Captain", "Judge"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_ORGS = "{n} Bank|{n} & {n}|University of {n}|{n} Institute|{n} GmbH|{n} Ltd.|Ministry of {N}|{A}|{n} United|The {n} Times|{n} Group"
_PLACES = "{n}|{n}|{n}|{n} Street|Lake {n}|Mount {n}|New {n}|{n} Valley|Port {n}|{n} River|{n}, {n}"
_NOUNS = ["Trade", "Health", "Energy", "Water", "Culture", "Transport", "Finance", "Science", "Labour"]
_WORKS = 'The {N} of {n}|A {N} in {n}|{n}|{n} and the {N}|Last {N}|On {N}|"The {N}"'
_PRODUCTS = "{n} {d}|{n} Pro|{A}-{d}|{n}{d}|i{n}|{n} {A}|{n} S"
_EVENTS = "{n} Open|Battle of {n}|{A} {y}|{n} Festival|{y} {n} election|{n} Cup|Treaty of {n}"
_MATTER = [
    "acid",
    "protein",
    "kinase",
    "tissue",
    "cell",
    "membrane",
    "vein",
    "tumour",
    "oxide",
    "fever",
    "syndrome",
    "gland",
    "plasma",
    "nerve",
    "bone",
]

_TEMPLATES = """{person} lives in {place} and works for {organisation}.
On {date} , {person} met {person} in {place}.
{organisation} paid {amount} to {person}, its lawyers said on {date}.
Please send {product} to {person}, {place}, before {date}.
My order {code} has not arrived, I paid {amount} on {date}!
The {product} costs {amount} at {organisation}.
{person} wrote {work} while she lived in {place}.
{work} ({date}) is a film by {person}, made with {organisation}.
After {event}, {person} became the head of {organisation}.
{event} took place in {place} from {date} to {date}.
We found {substance} in the {substance} of two patients.
The {substance} binds to {substance} and reduces the loss of {substance}.
lol just saw {person} at {place} with my new {product} !!!
@{handle} RT : {person} is playing {event} tonight in {place} http://{handle}.com
anyone going to {event} ? got two tickets for {amount} #{handle}
Can someone from {organisation} call me back about {code}? Thanks, {person}
{person} and {person} , both of {organisation} , disagreed .
It was {person} who sold the {product} for {amount}.
In {place}, the price of the {product} rose to {amount}.
{organisation} opened an office in {place} in {date}.
"{work}" won the prize of {organisation}.
The books {work}, {work} and {work} were written by {person}.
Members: {person}, {person}, {person} ({organisation}).
Ticket {code}: the {product} of {person} does not start.
There is nothing to do about it, they said, and went home.
I do not know what the weather will be like next week.
This is why we think that the method works better than before.
Where is my card? It should have been here by now.
good morning all, have a nice day :)
The results show that longer training does not help at all.
He said that it was late and that nobody had asked him.
We thank the people of {place} for their help.
From {place} to {place} it takes two hours by train.
{person} 's brother joined {organisation} on {date} , for {amount} a year .
A new {product} from {organisation} can be seen at {event}.
{person} (born {date} in {place}) studied at {organisation}.
Levels of {substance} were higher in the {substance} than in the {substance} (see Table 2).
The party of {person} lost {event} to {organisation}.
{organisation}: {amount}; {organisation}: {amount}.
Thanks to {person}, I could return the {product} in {place}.""".splitlines()

LABELS = (
    "person",
    "place",
    "organisation",
    "date",
    "amount",
    "product",
    "code",
    "work",
    "event",
    "substance",
)
"""Kinds of entities in written sentences."""


def written(count: int, generator: torch.Generator) -> Examples:
    """Texts of one to three sentences with marked entities, and for each a list of (start, end, label).

    Raises:
        SettingError: `count` is below 1.

    >>> texts = written(3, torch.Generator().manual_seed(0))
    >>> [texts.inputs[0][start:end] for start, end, _ in texts.targets[0]] != []
    True
    """
    if count < 1:
        raise SettingError(f"count is {count}; write at least 1 text")
    made = [_text(generator) for _ in range(count)]
    return Examples([text for text, _ in made], [spans for _, spans in made])


def _text(rng: torch.Generator) -> tuple[str, list[tuple[int, int, str]]]:
    """One to three sentences."""
    text, spans = _sentence(rng)
    for _ in range(max(_at(rng, 4) - 1, 0)):
        more, own = _sentence(rng)
        spans += [(start + len(text) + 1, end + len(text) + 1, label) for start, end, label in own]
        text += f" {more}"
    return text, spans


def _sentence(rng: torch.Generator) -> tuple[str, list[tuple[int, int, str]]]:
    lower = _at(rng, 6) == 0
    text, spans = "", []
    template = _pick(_TEMPLATES, rng)
    while template:
        before, brace, rest = template.partition("{")
        text += before
        if not brace:
            break
        label, _, template = rest.partition("}")
        said = _MAKERS[label](rng) if label in _MAKERS else _name(rng).lower()
        said = said.lower() if lower else said
        if label in _MAKERS:
            spans.append((len(text), len(text) + len(said), label))
        text += said
    return text, spans


def _at(rng: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (), generator=rng))


def _pick(items: list[str], rng: torch.Generator) -> str:
    return items[_at(rng, len(items))]


def _name(rng: torch.Generator) -> str:
    parts = [_pick(_ONSETS, rng) + _pick(_VOWELS, rng) for _ in range(1 + _at(rng, 3))]
    return ("".join(parts) + _pick(_CODAS, rng)).capitalize()


def _noun(rng: torch.Generator) -> str:
    return _pick(_NOUNS, rng)


def _letters(rng: torch.Generator) -> str:
    return "".join(_pick(_ONSETS, rng)[0] for _ in range(2 + _at(rng, 3))).upper()


def _number(rng: torch.Generator) -> str:
    return str(1 + _at(rng, 999))


def _year(rng: torch.Generator) -> str:
    return str(1900 + _at(rng, 130))


def _filled(forms: str, rng: torch.Generator) -> str:
    form = _pick(forms.split("|"), rng)
    makers = {
        "n": _name,
        "N": _noun,
        "A": _letters,
        "d": _number,
        "y": _year,
    }
    for key, make in makers.items():
        while f"{{{key}}}" in form:
            form = form.replace(f"{{{key}}}", make(rng), 1)
    return form


def _person(rng: torch.Generator) -> str:
    kind = _at(rng, 6)
    first, last = _name(rng), _name(rng)
    return (
        first,
        f"{first} {last}",
        f"{first} {last}",
        f"{first[0]}. {last}",
        f"{_pick(_ROLES, rng)} {last}",
        f"{first} {last[0]}. {_name(rng)}",
    )[kind]


def _date(rng: torch.Generator) -> str:
    day, year, month = 1 + _at(rng, 28), 1900 + _at(rng, 130), _pick(_MONTHS, rng)
    forms = (
        f"{day} {month} {year}",
        f"{month} {day}",
        str(year),
        _pick(_DAYS, rng),
        f"{month} {year}",
        f"{year}-04-{day:02d}",
    )
    return forms[_at(rng, len(forms))]


def _amount(rng: torch.Generator) -> str:
    number = f"{1 + _at(rng, 999)}" + ("" if _at(rng, 2) else f".{_at(rng, 90) + 10}")
    return (
        f"{number} euros",
        f"${number}",
        f"EUR {number}",
        f"{number} dollars",
        f"£{number}",
        f"{number} million",
    )[_at(rng, 6)]


def _code(rng: torch.Generator) -> str:
    digits = "".join(str(_at(rng, 10)) for _ in range(4 + _at(rng, 5)))
    return (digits, f"#{digits}", f"{_filled('{A}', rng)}-{digits}", f"{_filled('{A}', rng)}{digits}")[
        _at(rng, 4)
    ]


def _substance(rng: torch.Generator) -> str:
    word = _name(rng).lower()
    ends = ("ase", "in", "ol", "ium", "itis", "oma")
    forms = (
        word + ends[_at(rng, 6)],
        f"{word}ic {_pick(_MATTER, rng)}",
        f"{word} {_pick(_MATTER, rng)}",
        _pick(_MATTER, rng),
    )
    return forms[_at(rng, 4)]


_MAKERS = {
    "person": _person,
    "place": lambda rng: _filled(_PLACES, rng),
    "organisation": lambda rng: _filled(_ORGS, rng),
    "date": _date,
    "amount": _amount,
    "product": lambda rng: _filled(_PRODUCTS, rng),
    "code": _code,
    "work": lambda rng: _filled(_WORKS, rng),
    "event": lambda rng: _filled(_EVENTS, rng),
    "substance": _substance,
}
