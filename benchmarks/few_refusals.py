"""Refusals where there is little to learn from: banks of a few questions, one or two examples an intent.

    python -m benchmarks.few_refusals banks      banks of 3, 5, 10 and 20 entries with one question each, and of 2 to 10 with two
    python -m benchmarks.few_refusals intents    classifiers (and routers) of 3, 5, 10 and 20 intents with one or two examples

How many known messages are lost at 5 and 10 % asked, and how many strangers are refused: near ones (messages of other
entries or intents of the same set) and far ones (CLINC150's out-of-scope messages, validation part). A set is judged by
tables of the other sets. Judged by what kshot ships: covid_faq (its questions in the bank, people's paraphrases asked),
TREC and HuffPost (training parts), which had no part in any choice.

Banks out of the five intent sets have the intents' names for answers; the desk that kshot ships and SGD's (dialogues 0 to 239)
have real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kshot
from benchmarks import intent_sets
from benchmarks.dialogues import desk, dialogues
from benchmarks.few_texts import TITLES, parts
from benchmarks.rows import append
from benchmarks.text import HASHED, MINILM, interval, lines, thinned, timed
from kshot.demo.service_data import shipped_desk
from kshot.learners.self_knowledge import Gauge
from kshot.text import TextClassifier, TextEncoder
from kshot.text.answer_measures import least_score
from kshot.trust.answered import Answered
from kshot.trust.calibration import measured

SHARES = (0.05, 0.10)
ASKED, STRANGERS = 3, 20
"""Known messages of each entry or intent, strangers of each kind."""
SIZES, QUESTIONS = (2, 3, 5, 10, 20, 60), (1, 2, 5)
"""Of banks that the shipped tables are made of."""
NAMES = {**intent_sets.NAMES, "shop": "the desk that kshot ships", "replies": "SGD replies"}


@dataclass(frozen=True)
class Said:
    """An answer (or an intent) and what people say for it; `first`: the bank's questions come from the front."""

    answer: str
    texts: tuple[str, ...]
    first: bool = False


def grouped(texts: Sequence[str], labels: Sequence[str]) -> list[Said]:
    """Texts by label, whose words stand for the answer."""
    own = {
        label: tuple(t for t, mine in zip(texts, labels, strict=True) if mine == label) for label in labels
    }
    return [Said(label.replace("_", " "), texts) for label, texts in own.items()]


@cache
def set_of(name: str) -> tuple[Said, ...]:
    """A set by name."""
    if name in intent_sets.NAMES:
        return tuple(grouped(*intent_sets.labelled(name)))
    if name in TITLES:
        return tuple(grouped(*thinned(*parts(name)["train"], each=30)))
    if name == "shop":
        shop = shipped_desk()
        said = [*shop.taught, *shop.asked]
        own = {intent: tuple(text for text, mine in said if mine == intent) for intent in shop.intents}
        return tuple(Said(shop.answers[intent], texts) for intent, texts in own.items())
    return _covid() if name == "covid_faq" else _replies()


def _replies() -> tuple[Said, ...]:
    """Canned replies of SGD's dialogues, and the messages before them."""
    found = desk(kshot.text.encoder(MINILM), dialogues(0, 240))
    said = {entry.id: dict.fromkeys(entry.questions) for entry in found.entries}
    for turn, right in zip(found.stream, found.right, strict=True):
        if right >= 0:
            said[found.entries[right].id][turn.message] = None
    return tuple(Said(entry.answer, tuple(said[entry.id])) for entry in found.entries)


def _covid() -> tuple[Said, ...]:
    """Entries that somebody paraphrased; the question first."""
    pairs = [pair for pair in lines("covid_faq/question_pairs.jsonl.gz") if pair["similar"]]
    rows = lines("covid_faq/faq.jsonl.gz")
    asked = {
        r["question"]: tuple(p["user_question"] for p in pairs if p["faq_question"] == r["question"])
        for r in rows
    }
    return tuple(
        Said(r["answer"], (r["question"], *asked[r["question"]]), True) for r in rows if asked[r["question"]]
    )


@cache
def far() -> tuple[str, ...]:
    """Out-of-scope messages, validation part."""
    rows = lines("clinc150/clinc150_full.jsonl.gz")
    return tuple(r["text"] for r in rows if r["oos"] and r["split"] == "val")


@dataclass(frozen=True)
class Draw:
    """Entries with what is taught of each, known messages with the place of their entry, and strangers."""

    answers: list[str]
    taught: list[tuple[str, ...]]
    known: list[str]
    right: list[int]
    near: list[str]
    far: list[str]


def draws(said: Sequence[Said], size: int, shots: int, count: int, seed: int) -> Iterator[Draw]:
    """`count` draws of `size` entries with `shots` texts each; none where the set has too few."""
    rng = np.random.default_rng(seed)
    usable = [one for one in said if len(one.texts) > shots]
    for _ in range(count if len(usable) >= size else 0):
        order = rng.permutation(len(usable))
        own, others = [usable[n] for n in order[:size]], [usable[n] for n in order[size:]]
        mixed = [
            one.texts if one.first else tuple(np.array(one.texts, object)[rng.permutation(len(one.texts))])
            for one in own
        ]
        asked = [texts[shots : shots + ASKED] for texts in mixed]
        yield Draw(
            [one.answer for one in own], [texts[:shots] for texts in mixed],
            [text for texts in asked for text in texts], [n for n, texts in enumerate(asked) for _ in texts],
            [one.texts[-1] for one in others[:STRANGERS]], [far()[n] for n in rng.permutation(len(far()))[:STRANGERS]],
        )  # fmt: skip


def remembering(spec: str, names: Sequence[str]) -> TextEncoder:
    """An encoder that has encoded all texts of these sets once."""
    encoder = kshot.text.encoder(spec)
    said = [one for name in names for one in set_of(name)]
    texts = sorted({text for one in said for text in (one.answer, *one.texts)} | set(far()))
    held = dict(zip(texts, encoder.encode(texts), strict=True))
    encoder.encode = lambda asked: torch.stack([held[text] for text in asked])  # type: ignore[method-assign]
    return encoder


def bank_of(draw: Draw, encoder: TextEncoder) -> kshot.text.AnswerBank:
    return kshot.text.answers(list(zip(draw.taught, draw.answers, strict=True)), encoder)


def answered(name: str, encoder: TextEncoder, count: int = 30) -> list[Answered]:
    """Banks out of a set, of all sizes, and how they answered."""
    found = []
    for size in SIZES:
        for shots in QUESTIONS:
            for draw in draws(set_of(name), size, shots, count if size < 60 else count // 3, seed=1):
                bank = bank_of(draw, encoder)
                assert bank.own_questions is not None
                outputs = torch.from_numpy(bank.scores(draw.known))
                found.append(
                    Answered(size, float(shots), outputs, torch.tensor(draw.right), bank.own_questions.gauge)
                )
    return found


def table(spec: str) -> Tensor:
    """What ships: the table of banks out of all sets."""
    encoder = remembering(spec, list(NAMES))
    return measured([one for name in NAMES for one in answered(name, encoder)], 0.05)


def banks(specs: Sequence[str] = (MINILM, HASHED)) -> None:
    """Banks of a few questions."""
    for spec in specs:
        encoder = remembering(spec, [*NAMES, "covid_faq"])
        every = {name: answered(name, encoder) for name in NAMES}
        for judged, title in {**NAMES, "covid_faq": "covid_faq"}.items():
            others = [name for name in NAMES if name != judged]
            seen = [one for name in others for one in every[name]]
            own, seconds = timed(lambda s=seen: measured(s, 0.05))
            for size, shots in ((3, 1), (5, 1), (10, 1), (20, 1), (2, 2), (5, 2), (10, 2)):
                lost = []
                for draw in draws(set_of(judged), size, shots, 40, seed=2):
                    bank = bank_of(draw, encoder)
                    least = [least_score(bank, share, own) for share in SHARES]
                    lost.append(_shares(draw, lambda t, b=bank: b.scores(t).max(1), least))
                _row(
                    "banks of answers",
                    title,
                    spec,
                    f"{size} entries, {_each(shots, 'question')}",
                    lost,
                    others,
                    seconds,
                )


def intents(specs: Sequence[str] = (MINILM, HASHED)) -> None:
    """Classifiers of a few intents with one or two examples each, with their rule and by other tasks alone."""
    judged = {**intent_sets.NAMES, "trec6": TITLES["trec6"], "huffpost": TITLES["huffpost"]}
    for spec in specs:
        remembered = remembering(spec, list(judged))
        for name, title in judged.items():
            made, by, seconds = _classifier(name, spec)
            learner = made.on(remembered).eval()
            for size, shots in ((3, 1), (5, 1), (10, 1), (20, 1), (3, 2), (5, 2), (10, 2)):
                protocol = f"{size} intents, {_each(shots, 'example')}"
                drawn = list(draws(set_of(name), size, shots, 40, seed=2))
                for alone in (False, True):
                    lost = [_classified(learner, draw, alone) for draw in drawn]
                    rule = ", by other tasks alone" if alone else ""
                    _row(f"classifiers{rule}", title, spec, protocol, lost, by, seconds)


def _classifier(name: str, spec: str) -> tuple[TextClassifier, Sequence[str], float]:
    """Who judges a set, the sets it was calibrated on, and seconds."""
    from benchmarks.refusals import calibrated, others

    if name not in intent_sets.NAMES:
        return kshot.text.classifier(spec), tuple(intent_sets.NAMES), 0.0
    made, seconds = timed(lambda: calibrated(kshot.text.encoder(spec), others(name), tasks=30))
    return made, others(name), seconds


def _each(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''} each"


def _classified(learner: TextClassifier, draw: Draw, alone: bool) -> np.ndarray:
    texts = [text for own in draw.taught for text in own]
    labels = [str(n) for n, own in enumerate(draw.taught) for _ in own]
    task = learner.adapt(texts, labels)
    gauge, cell = task.gauge, task.knowledge
    assert gauge is not None
    assert cell is not None
    bare = Gauge(gauge.others, gauge.span)
    least = [(bare if alone else gauge).sureness(cell.sureness).threshold(share) for share in SHARES]
    return _shares(draw, lambda asked: task.predict(asked).scores, least)


def _shares(draw: Draw, score: Callable[[list[str]], np.ndarray], least: Sequence[float]) -> np.ndarray:
    """Shares refused in per cent, [known, near, far; asked]."""
    parts_ = [score(texts) if texts else np.full(1, np.nan) for texts in (draw.known, draw.near, draw.far)]
    found = [
        [np.nan if np.isnan(own).any() else 100 * float((own < one).mean()) for one in least]
        for own in parts_
    ]
    return np.array(found)


def _row(
    what: str, title: str, spec: str, protocol: str, lost: list[np.ndarray], by: Sequence[str], seconds: float
) -> None:
    if not lost:
        return
    found = np.stack(lost)
    for place, share in enumerate(SHARES):
        mean, low, high = interval(found[:, 0, place])
        near, out = (
            None if np.isnan(v).all() else float(np.nanmean(v))
            for v in (found[:, 1, place], found[:, 2, place])
        )
        said: dict[str, Any] = {"near_refused": near, "far_refused": out}
        print(
            f"{what[:24]:24s} {spec[:8]} {title:14.14s} {protocol:28s} {share:.2f}: {mean:5.1f} [{low:.1f}, {high:.1f}] {said}",
            flush=True,
        )
        append("few_refusals", what=f"{what}: known messages lost at {100 * share:.0f} % asked", data=title, value=mean, low=max(low, 0.0), high=high,
               unit="%", asked=share, kind=what, encoder=spec, protocol=protocol, regime="inductive", seeds=[2], n_tasks=len(found),
               calibrated_on=[NAMES[name] for name in by], cpu_seconds=round(seconds, 1), **said)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    work = {"banks": banks, "intents": intents}
    chosen = [word for word in sys.argv[1:] if ":" in word] or [MINILM, HASHED]
    for word in [word for word in sys.argv[1:] if word in work] or list(work):
        work[word](chosen)
