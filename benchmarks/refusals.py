"""What is unknown: near and far unknowns, and whether a requested loss of known messages holds on other intent sets.

    python -m benchmarks.refusals unknown     AUROC: far (CLINC150's out of scope) and near (halves of BANKING77)
    python -m benchmarks.refusals asked       requested loss against what was lost, five intent sets, each left out in turn
    python -m benchmarks.refusals elsewhere   the same with what kshot ships, on question types and news topics, where the
                                              rule of refusals was not chosen
    python -m benchmarks.refusals knowledge   makes src/kshot/text/knowledge.safetensors: what classifiers, routers and banks of
                                              answers know before they have enough examples of their own

A judged set is never among those that the base was calibrated on; sets named in the rows.
"""

from __future__ import annotations

import copy
import math
import sys
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

import kshot
from benchmarks import few_refusals, intent_sets
from benchmarks.few_texts import TITLES, parts
from benchmarks.rows import ROOT, append
from benchmarks.text import HASHED, MINILM, intents_of, interval, lines, thinned, timed
from kshot.data import Episodes, Pool
from kshot.tasks import NWayKShot
from kshot.tasks.spaces.sureness import LEVELS
from kshot.text import TextClassifier
from kshot.trust import calibrate
from kshot.trust.answered import answer_many

SHOTS = (1, 2, 5, 10)
FEW, SOME, MANY = (2, 5), (20,), (60,)
"""Numbers of intents that are measured: on all sets, on those with 20 intents or more, with 60 or more."""
SHARES = (0.05, 0.10, 0.20)


def calibrated(encoder: Any, names: tuple[str, ...], tasks: int = 60) -> TextClassifier:
    """A classifier that knows its own sureness from these intent sets, whatever kshot ships."""
    learner = TextClassifier(encoder).eval()
    tables = []
    for ways in (FEW, SOME, MANY):
        own = intent_sets.large(names, ways[-1])
        if own:
            calibrate(learner, intent_sets.source(own, ways[-1], 5), tasks=tasks, ways=ways, shots=SHOTS)
            tables.append(learner.self_knowledge)
    learner.self_knowledge = torch.cat(tables)
    return learner


def others(judged: str) -> tuple[str, ...]:
    """All sets but one."""
    return tuple(name for name in intent_sets.NAMES if name != judged)


def _titles(names: tuple[str, ...]) -> list[str]:
    return [intent_sets.NAMES[name] for name in names]


def asked() -> None:
    """Of messages whose intent is taught, how many are refused when a share is asked for; sets left out in turn."""
    for spec in (MINILM, HASHED):
        encoder = kshot.text.encoder(spec)
        for judged, title in intent_sets.NAMES.items():
            learner, seconds = timed(lambda e=encoder, j=judged: calibrated(e, others(j), tasks=30))
            count = len(intent_sets.pool(judged).classes)
            for ways in sorted({5, min(20, count)}):
                source = intent_sets.source((judged,), ways, 5)
                for shots in (1,), (5, 10):
                    _asked(learner, spec, source, title, ways, seconds, _titles(others(judged)), shots=shots)


def elsewhere() -> None:
    """Question types and news topics: TREC's and HuffPost's training parts, asked of what kshot ships."""
    for spec in (MINILM, HASHED):
        learner = kshot.text.classifier(spec)
        bare = copy.deepcopy(learner)  # thresholds go by other tasks alone
        bare.self_knowledge = bare.self_knowledge[:, : -len(LEVELS)].contiguous()
        for data in ("trec6", "huffpost"):
            pool = Pool(*thinned(*parts(data)["train"], each=30), data)
            ways = min(20, len(pool.classes))
            source = Episodes(pool, NWayKShot(ways, 5, 5))
            for base, rule in ((learner, ""), (bare, ", by other tasks alone")):
                for shots in (1,), (5, 10):
                    _asked(
                        base,
                        spec,
                        source,
                        TITLES[data],
                        ways,
                        0.0,
                        _titles(tuple(intent_sets.NAMES)),
                        rule,
                        shots=shots,
                    )


def _asked(learner: TextClassifier, spec: str, source: Any, title: str, ways: int, seconds: float,
           calibrated_on: list[str], rule: str = "", *, shots: tuple[int, ...]) -> None:  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    found, _ = answer_many(learner, source, 40, draw, ways=(ways,), shots=shots)
    for share in SHARES:
        lost = []
        for one in found:
            assert one.gauge is not None
            cell = kshot.learners.self_knowledge.known(learner, one.ways, one.shots)
            assert cell is not None
            familiar = one.gauge.familiarity(one.outputs).numpy()
            least = one.gauge.sureness(cell.sureness).threshold(share)
            lost.append(100 * float((familiar < least).mean()))
        mean, low, high = interval(np.array(lost))
        print(
            f"{spec[:8]} {title:10s} {ways:3d} intents: {100 * share:.0f} % asked, {mean:.1f} [{low:.1f}, {high:.1f}]"
        )
        append("refusals", what=f"{100 * share:.0f} % asked: known messages refused, %{rule}", data=title, value=mean, low=low, high=high,
               asked=share, encoder=spec, n_tasks=len(lost), seeds=[1], regime="inductive", cpu_seconds=round(seconds, 1),
               spread=[float(q) for q in np.quantile(lost, [0.1, 0.9])],
               calibrated_on=calibrated_on, protocol=f"{ways} {'intents' if title in intent_sets.NAMES.values() else 'classes'}, {_listed(shots)} each")  # fmt: skip


def _listed(shots: tuple[int, ...]) -> str:
    """For example "1, 5 and 10 examples"."""
    if shots == (1,):
        return "1 example"
    return f"{', '.join(map(str, shots[:-1]))} and {shots[-1]} examples"


def unknown() -> None:
    """AUROC of how familiar a message is, and what is refused at a requested loss of 5 and 10 %."""
    for judged, measure in (("clinc150", _far), ("banking77", _near)):
        learner, seconds = timed(lambda j=judged: calibrated(kshot.text.encoder(MINILM), others(j)))
        for shots in (5, 10):
            measure(learner, shots, round(seconds, 1))


def _far(learner: TextClassifier, shots: int, seconds: float) -> None:
    texts, _ = intents_of("clinc150", "test")
    strange = [
        r["text"] for r in lines("clinc150/clinc150_full.jsonl.gz") if r["oos"] and r["split"] == "test"
    ]
    task = learner.adapt(*intents_of("clinc150", f"train_{shots}"))
    area, refusals = _refusals(task, texts, strange)
    low, high = _area_interval(area, len(texts), len(strange))
    shared = {"protocol": f"{shots}-shot, official files, 1,000 out-of-scope messages", "encoder": MINILM,
              "calibrated_on": _titles(others("clinc150")), "n_tasks": 1, "regime": "inductive", "seeds": [0], "cpu_seconds": seconds}  # fmt: skip
    print(f"far unknowns, {shots}-shot: AUROC {area:.4f} [{low:.4f}, {high:.4f}] {refusals}", flush=True)
    append(
        "refusals",
        what="far unknowns, AUROC",
        data="CLINC150",
        value=area,
        low=low,
        high=high,
        **shared,
        **refusals,
    )


def _near(learner: TextClassifier, shots: int, seconds: float) -> None:
    texts, goal = intents_of("banking77", "test")
    x, y = intents_of("banking77", f"train_{shots}")
    labels, areas, all_refusals = sorted(set(y)), [], []
    for split in range(5):
        half = {labels[p] for p in np.random.default_rng(split).permutation(len(labels))[: len(labels) // 2]}
        kept = [p for p, label in enumerate(y) if label in half]
        task = learner.adapt([x[p] for p in kept], [y[p] for p in kept])
        known = [t for t, label in zip(texts, goal, strict=True) if label in half]
        strange = [t for t, label in zip(texts, goal, strict=True) if label not in half]
        area, refusals = _refusals(task, known, strange)
        areas.append(area)
        all_refusals.append(refusals)
    mean, low, high = interval(np.array(areas))
    refusals = {key: float(np.mean([r[key] for r in all_refusals])) for key in all_refusals[0]}
    print(f"near unknowns, {shots}-shot: AUROC {mean:.4f} [{low:.4f}, {high:.4f}] {refusals}", flush=True)
    append("refusals", what="near unknowns, AUROC", data="BANKING77", value=mean, low=low, high=high, n_tasks=5,
           protocol=f"{shots}-shot, half of the intents known, 5 splits", encoder=MINILM, regime="inductive", seeds=list(range(5)), cpu_seconds=seconds,
           calibrated_on=_titles(others("banking77")), **refusals)  # fmt: skip


def _refusals(task: Any, known: list[str], strange: list[str]) -> tuple[float, dict[str, float]]:
    """AUROC, and shares refused of known and of strange messages at requested losses."""
    outputs = task.outputs(task.embed([*known, *strange]))
    familiar = task.gauge.familiarity(outputs).numpy()
    area = float(roc_auc_score(np.arange(len(familiar)) < len(known), familiar))
    found = {}
    for share in (0.05, 0.10):
        refused = task.decode(outputs, share).unknown
        found[f"known_refused_at_{share:g}"] = float(np.mean(refused[: len(known)]))
        found[f"strange_refused_at_{share:g}"] = float(np.mean(refused[len(known) :]))
    return area, found


def _area_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of an AUROC (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    half = 1.96 * math.sqrt(spread / (positives * negatives))
    return area - half, area + half


def knowledge() -> None:
    """What travels with kshot, numbers only: of classifiers on the encoders that it knows by name, and of banks of answers."""
    found = {}
    for spec, kind in ((HASHED, "words"), (MINILM, "meaning")):
        learner = calibrated(kshot.text.encoder(spec), tuple(intent_sets.NAMES), tasks=60)
        own = f"intents/{kind}/{learner.encoder.fingerprint()}"
        found |= {f"{own}/table": learner.self_knowledge, f"{own}/temperature": learner.temperature}
        found[f"answers/{kind}/table"] = few_refusals.table(spec)
        print(spec, own, {name: tuple(part.shape) for name, part in found.items()}, flush=True)
    save_file(found, ROOT / "src" / "kshot" / "text" / "knowledge.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = {"unknown": unknown, "asked": asked, "elsewhere": elsewhere, "knowledge": knowledge}
    for word in sys.argv[1:] or ["unknown", "asked"]:
        chosen[word]()
