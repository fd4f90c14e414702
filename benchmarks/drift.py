"""Drift: how soon it is noticed, how often falsely, and what learning again brings back.

python -m benchmarks.drift kanji     a task of 20 Omniglot characters whose inputs become kanji; base: glyphs
python -m benchmarks.drift clinc     a task of one domain's 15 intents; utterances of another domain come
python -m benchmarks.drift wrong     as kanji, but the labels after the change are drawn at random
python -m benchmarks.drift picture   draws docs/drift.svg from the rows

Many streams each. A stream has 200 inputs before the change and 200 after it; half of the inputs come with their
labels. As soon as an alarm is given and 60 labelled inputs since the estimated change are there, the task learns
again. False alarms are counted in streams of 300 (kanji: Omniglot characters only) or 400 (clinc) inputs without change.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

import kshot
from benchmarks.rows import ROOT, append, data_folder
from benchmarks.tables import rows
from kshot.evaluation import Interval, embed_all
from kshot.learners import Adapted, ClosedForm, ProtoNet
from kshot.learners.self_estimate import wilson
from kshot.seeds import generator
from kshot.trust import Watch

BEFORE, AFTER, BATCH = 200, 200, 20
RATES = (0.01, 0.05)
ENOUGH = 60


@dataclass(frozen=True)
class Stream:
    """A task, and inputs with labels before and after a change."""

    task: Adapted
    inputs: Tensor
    labels: list[Any]
    change: int
    old: tuple[Tensor, list[Any]]
    """Further inputs as before the change, never in the stream."""


@dataclass
class Outcome:
    """What happened to one stream; `watched` and `left` (as it was): was each input answered right?

    `old` is the accuracy of the task at the end on inputs as before the change.
    """

    alarm: int | None = None
    estimate: int | None = None
    learned: int | None = None
    adopted: bool = False
    way: str = ""
    watched: list[bool] = field(default_factory=list)
    left: list[bool] = field(default_factory=list)
    old: float = 0.0


def follow(stream: Stream, rate: float, rng: torch.Generator, seed: int, share: float = 0.5) -> Outcome:
    """Run a stream through a watch in batches of twenty; learn again once after an alarm."""
    out, task = Outcome(), stream.task
    watch = Watch(task, rate, seed=seed)
    told = (torch.rand(len(stream.labels), generator=rng) < share).tolist()
    for start in range(0, len(stream.labels), BATCH):
        part = slice(start, start + BATCH)
        inputs, labels = stream.inputs[part], stream.labels[part]
        out.watched += right(task, inputs, labels)
        out.left += right(stream.task, inputs, labels)
        known = [y if tell else None for y, tell in zip(labels, told[part], strict=True)]
        watch = watch.see(inputs, known)
        if watch.alarm and out.alarm is None:
            out.alarm, out.estimate = watch.alarm.at, watch.alarm.change
        if watch.alarm and out.learned is None and len(watch.recent) >= ENOUGH:
            again = watch.readapt()
            task, watch = again.task, again.watch
            out.learned, out.adopted, out.way = start + BATCH, again.adopted, again.way
    old = right(task, *stream.old)
    out.old = 100 * sum(old) / len(old)
    return out


def falsely(stream: Stream, rng: torch.Generator, seed: int) -> list[float]:
    """The rates at which a stream without change gives an alarm; the largest first, which has all alarms of the others."""
    told = (torch.rand(len(stream.labels), generator=rng) < 0.5).tolist()
    known = [y if tell else None for y, tell in zip(stream.labels, told, strict=True)]
    found: list[float] = []
    for rate in sorted(RATES, reverse=True):
        if Watch(stream.task, rate, seed=seed).see(stream.inputs, known).alarm is None:
            break
        found.append(rate)
    return found


def right(task: Adapted, inputs: Tensor, labels: list[Any]) -> list[bool]:
    """Is each input answered right?"""
    return [given == label for given, label in zip(task.predict(inputs).labels, labels, strict=True)]


class Kanji:
    """20 Omniglot test characters, 5 pictures each to learn; the same 20 labels as kanji after the change.

    Every picture is encoded by the base once; the tasks are learned by the base's own head on these features.
    """

    name, before, after = "kanji", "omniglot test characters", "kuzushiji kanji"

    def __init__(self) -> None:
        found = kshot.load("glyphs")
        assert isinstance(found, ProtoNet)
        self.base = ProtoNet(kshot.encoders.identity(found.encoder.features)).eval()
        self.base.head.load_state_dict(found.head.state_dict())
        self.base.temperature.copy_(found.temperature)
        pool = kshot.vision.omniglot(data_folder() / "omniglot").test.pool
        self.members, self.omniglot = pool.members, embed_all(found, pool.inputs)
        kanji = np.load(data_folder() / "kuzushiji_kanji" / "kkanji_32x32.npz")
        self.kanji = embed_all(found, torch.from_numpy(kanji["images"]))
        self.of_kanji = [torch.from_numpy(np.flatnonzero(kanji["class_index"] == c)) for c in range(714)]

    def draw(self, rng: torch.Generator, change: bool) -> Stream:
        classes = torch.randperm(len(self.members), generator=rng)[:20].tolist()
        support, calm = [], []
        for label, c in enumerate(classes):
            members = self.members[c][torch.randperm(20, generator=rng)]
            support += [(int(m), label) for m in members[:5]]
            calm += [(int(m), label) for m in members[5:]]
        task = self.base.adapt(self.omniglot[[m for m, _ in support]], [f"sign {y}" for _, y in support])
        calm = shuffled(calm, rng)
        first = calm[: BEFORE if change else 300]
        inputs, labels = [self.omniglot[[m for m, _ in first]]], [y for _, y in first]
        if change:
            chosen = torch.randperm(714, generator=rng)[:20].tolist()
            pairs = [(int(m), y) for y, c in enumerate(chosen) for m in self.of_kanji[c]]
            second = shuffled(pairs, rng)[:AFTER]
            inputs.append(self.kanji[[m for m, _ in second]])
            labels += [y for _, y in second]
        rest = calm[BEFORE:300]
        old = self.omniglot[[m for m, _ in rest]], [f"sign {y}" for _, y in rest]
        return Stream(task, torch.cat(inputs), [f"sign {y}" for y in labels], len(first), old)


class Wrong(Kanji):
    """As `Kanji`, with labels drawn at random after the change: what is learned from them must be rolled back."""

    name, after = "wrong", "kuzushiji kanji with random labels"

    def draw(self, rng: torch.Generator, change: bool) -> Stream:
        stream = super().draw(rng, change)
        random = torch.randint(20, (len(stream.labels) - stream.change,), generator=rng).tolist()
        stream.labels[stream.change :] = [f"sign {y}" for y in random]
        return stream


class Clinc:
    """10 utterances of each intent of one domain to learn, a golden one each; another domain's utterances come."""

    name, before, after = "clinc", "clinc150, one domain", "clinc150, another domain"

    def __init__(self) -> None:
        folder = data_folder() / "clinc150"
        with gzip.open(folder / "clinc150_full.jsonl.gz", "rt", encoding="utf-8") as file:
            found = [row for row in map(json.loads, file) if not row["oos"]]
        texts = HashingVectorizer(n_features=1024, ngram_range=(1, 2), alternate_sign=True).transform(
            [row["text"] for row in found]
        )
        self.features = torch.from_numpy(texts.toarray().astype(np.float32))
        self.domains: dict[str, list[str]] = json.loads((folder / "domains.json").read_text())
        self.places: dict[str, list[int]] = {}
        for place, row in enumerate(found):
            self.places.setdefault(row["intent"], []).append(place)
        self.base = ClosedForm(kshot.encoders.identity(1024), "ridge")

    def draw(self, rng: torch.Generator, change: bool) -> Stream:
        names = sorted(self.domains)
        one, other = (names[k] for k in torch.randperm(len(names), generator=rng)[:2].tolist())
        taught, likely, calm = [], [], []
        for intent in self.domains[one]:
            order = shuffled([(place, intent) for place in self.places[intent]], rng)
            taught, likely, calm = taught + order[:10], [*likely, order[10:20]], calm + order[20:]
        task = self.base.adapt(self.features[[p for p, _ in taught]], [y for _, y in taught])
        task = task.with_golden(*self.golden(task, likely))
        calm = shuffled(calm, rng)
        stream = calm[: BEFORE if change else 400]
        if change:
            pairs = [(place, intent) for intent in self.domains[other] for place in self.places[intent]]
            stream += shuffled(pairs, rng)[:AFTER]
        features = self.features[[p for p, _ in stream]]
        rest = calm[400:600]
        old = self.features[[p for p, _ in rest]], [y for _, y in rest]
        return Stream(task, features, [y for _, y in stream], BEFORE if change else 400, old)

    def golden(self, task: Adapted, likely: list[list[tuple[int, str]]]) -> tuple[Tensor, list[str]]:
        """Per intent the utterance out of ten that is answered right most surely: a typical one."""
        chosen = []
        for pairs in likely:
            answer = task.predict(self.features[[p for p, _ in pairs]])
            sure = answer.probabilities[:, answer.classes.index(pairs[0][1])]
            best = int(sure.argmax())
            if answer.labels[best] == pairs[best][1]:
                chosen.append(pairs[best])
        return self.features[[p for p, _ in chosen]], [y for _, y in chosen]


def shuffled(pairs: list[Any], rng: torch.Generator) -> list[Any]:
    """In random order."""
    return [pairs[k] for k in torch.randperm(len(pairs), generator=rng).tolist()]


KINDS: dict[str, Callable[[], Any]] = {"kanji": Kanji, "clinc": Clinc, "wrong": Wrong}


def measure(kind: str, streams: int, calm: int, seed: int) -> None:
    """Rows of one kind: false alarms, delay, accuracy before, during and after, and its course."""
    made = KINDS[kind]()
    start = time.process_time()
    rng = generator(seed, "drift", kind, "calm")
    false = [falsely(made.draw(rng, False), rng, s) for s in range(calm)]
    for rate in RATES if calm else ():
        row(
            made,
            "false alarms, % of streams",
            share([rate in alarms for alarms in false]),
            calm,
            rate,
            seed,
            start,
        )
    for rate in RATES:
        rng = generator(seed, "drift", kind, "change")
        found = [(s := made.draw(rng, True), follow(s, rate, rng, n)) for n in range(streams)]
        changed(made, [(stream.change, out) for stream, out in found], rate, seed, start)


def changed(made: Any, found: list[tuple[int, Outcome]], rate: float, seed: int, start: float) -> None:
    """Rows about streams that change."""
    count = len(found)
    late = [(c, o) for c, o in found if o.alarm is not None and o.alarm > c]
    early = [o.alarm is not None and o.alarm <= c for c, o in found]
    row(made, "alarms before the change, % of streams", share(early), count, rate, seed, start)
    row(
        made,
        "changes noticed, % of streams",
        share([o.alarm is not None for _, o in found]),
        count,
        rate,
        seed,
        start,
    )
    delays = [o.alarm - c for c, o in late if o.alarm is not None]
    quantiles = dict(zip(("median", "p90"), np.quantile(delays, (0.5, 0.9)).tolist(), strict=True))
    row(made, "delay, inputs after the change", interval(delays), len(late), rate, seed, start, **quantiles)
    off = [abs(o.estimate - c) for c, o in late if o.estimate is not None]
    row(made, "error of the estimated change, inputs", interval(off), len(late), rate, seed, start)
    adopted = [o.adopted for _, o in found if o.learned is not None]
    ways = {way: sum(o.way == way and o.adopted for _, o in found) for way in ("add", "replace")}
    row(made, "new task adopted, % of relearned", share(adopted), len(adopted), rate, seed, start, **ways)
    old = [o.old for _, o in late if o.adopted]
    if old:
        row(
            made,
            "accuracy on inputs as before, by the new task, %",
            interval(old),
            len(old),
            rate,
            seed,
            start,
        )
    phases(
        made, [(c, o) for c, o in late if o.learned is not None and o.learned < c + AFTER], rate, seed, start
    )
    if rate == RATES[0]:
        course(made, [o for _, o in found], seed)


def phases(made: Any, found: list[tuple[int, Outcome]], rate: float, seed: int, start: float) -> None:
    """Accuracy before the change, from it to learning again, and after, of both tasks on the same inputs."""
    for name, pick in (("watched", lambda o: o.watched), ("left as it was", lambda o: o.left)):
        spans = {
            "before the change": [(pick(o)[:c]) for c, o in found],
            "from the change to learning again": [pick(o)[c : o.learned] for c, o in found],
            "after learning again": [pick(o)[o.learned :] for c, o in found],
        }
        for span, values in spans.items():
            means = [sum(v) / len(v) for v in values if v]
            what = f"accuracy {span}, %, {name}"
            row(made, what, interval([100 * m for m in means]), len(means), rate, seed, start)


def course(made: Any, found: list[Outcome], seed: int) -> None:
    """Accuracy in spans of `BATCH` inputs along the stream, mean over streams with interval: for the picture."""
    for name, pick in (("watched", lambda o: o.watched), ("left as it was", lambda o: o.left)):
        table = np.array([pick(o)[: BEFORE + AFTER] for o in found], dtype=float)
        spans = table.reshape(len(found), -1, BATCH).mean(2)
        parts = [Interval.of((100 * spans[:, k]).tolist()) for k in range(spans.shape[1])]
        append(
            "drift_course", what=name, data=made.name, protocol=f"{len(found)} streams, false alarms 1 %",
            regime="inductive", places=[BATCH * k + BATCH / 2 - BEFORE for k in range(len(parts))],
            value=[p.mean for p in parts], half=[p.half for p in parts], seeds=[seed],
            alarms=sorted(o.alarm - BEFORE for o in found if o.alarm is not None),
        )  # fmt: skip


def share(values: list[bool]) -> tuple[float, float, float]:
    """Per cent with its 95 % Wilson interval."""
    low, high = wilson(sum(values), len(values))
    return 100 * sum(values) / len(values), 100 * low, 100 * high


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean with its 95 % interval."""
    found = Interval.of([float(v) for v in values])
    return found.mean, found.low, found.high


def row(
    made: Any,
    what: str,
    value: tuple[float, float, float],
    count: int,
    rate: float,
    seed: int,
    start: float,
    **more: Any,
) -> None:
    """Print and keep one figure."""
    print(
        f"{made.name} at {rate}: {what}: {value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}] ({count}) {more or ''}",
        flush=True,
    )
    append(
        "drift", what=what, data=f"{made.before} -> {made.after}", protocol=f"stated false alarms {100 * rate:g} %",
        regime="inductive", value=value[0], low=value[1], high=value[2], n_tasks=count, seeds=[seed],
        cpu_seconds=round(time.process_time() - start), **more,
    )  # fmt: skip


def picture() -> None:
    """docs/drift.svg: accuracy along the stream, watched and left as it was, one panel per kind of stream."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kshot"
    from matplotlib import pyplot

    titles = {
        "kanji": "Omniglot characters become kanji",
        "clinc": "Another domain's questions come",
        "wrong": "Kanji with random labels",
    }
    latest = {(r["data"], r["what"]): r for r in rows("drift_course")}
    kinds = [k for k in titles if (k, "watched") in latest]
    figure, panels = pyplot.subplots(
        1, len(kinds), figsize=(3.6 * len(kinds), 3.4), sharey=True, squeeze=False
    )
    for axes, kind in zip(panels[0], kinds, strict=True):
        for what, colour, dash in (("left as it was", "#b5541c", "--"), ("watched", "#1f6feb", "-")):
            found = latest[kind, what]
            x, y, half = (np.array(found[name]) for name in ("places", "value", "half"))
            axes.plot(x, y, dash, color=colour, label=what, drawstyle="steps-mid")
            axes.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0, step="mid")
        alarms = np.array(latest[kind, "watched"]["alarms"])
        axes.plot(
            alarms, np.full(len(alarms), 90.0), "|", color="#444", markersize=7, label="alarms", alpha=0.25
        )
        axes.axvline(0, color="#444", linewidth=0.8)
        axes.set_title(titles[kind], fontsize=10)
        axes.set_xlabel("inputs after the change")
        axes.grid(alpha=0.25)
        axes.set_ylim(0, 100)
    panels[0][0].set_ylabel("answered right, %")
    panels[0][0].legend(fontsize=8, loc="center left")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "drift.svg", metadata={"Date": None})


def main() -> None:
    """Measure or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=(*KINDS, "picture"))
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--calm", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "picture":
        picture()
    else:
        measure(options.what, options.streams, options.calm, options.seed)


if __name__ == "__main__":
    main()
