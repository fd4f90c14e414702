"""Can a task be taken at its word? Refusals, sets, calibration, self-estimates and wrong labels on unseen classes.

python -m benchmarks.trust            all of it (about 10 CPU minutes)
python -m benchmarks.trust sets unknown noise estimate --data kanji omniglot clinc150     parts of it

Kanji and Omniglot by the bundled base's features; CLINC150 by scikit-learn's hashed n-grams, weighted and
reduced on training intents. "calibrated on glyphs": the bundled base as it comes. "on its own kind": calibrated
on other classes of the same data, in three random splits. The base was trained on neither kanji nor Omniglot, so
all their classes are unseen.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kshot
from benchmarks.rows import append, data_folder
from kshot.data import Episodes, Pool
from kshot.evaluation import Interval, embed_all, expected_calibration_error
from kshot.evaluation.reliability import Reliability, prediction
from kshot.learners import Learner, ProtoNet
from kshot.learners.embedding import encoded
from kshot.learners.eval_mode import evaluating
from kshot.seeds import generator
from kshot.tasks import Examples, NWayKShot, Task
from kshot.tasks.spaces import Classes
from kshot.trust import calibrate, separation
from kshot.trust.answered import answer

TASKS = 200
SETS = ((5, 1), (5, 5), (20, 1), (20, 5))


@dataclass(frozen=True)
class Kind:
    """Features of one kind of data.

    Attributes:
        calibration, test: features of disjoint classes. groups: alphabet or domain of each test class.
        far: features of inputs of another kind, by name. learner: answers from features; not calibrated on it.
    """

    name: str
    calibration: Pool
    test: Pool
    groups: dict[Any, str]
    far: dict[str, Tensor]
    learner: Learner


def on_features(base: Learner) -> ProtoNet:
    """The base without its encoder, so that features are computed once."""
    assert isinstance(base, ProtoNet)
    alone = ProtoNet(kshot.encoders.identity(base.encoder.features))
    alone.head.load_state_dict(base.head.state_dict())
    alone.self_knowledge = base.self_knowledge.clone()
    return alone.eval()


def glyphs() -> Learner:
    base = kshot.load("glyphs")
    assert isinstance(base, Learner)
    return base


def kanji_features(base: Learner) -> Pool:
    with np.load(data_folder() / "kuzushiji_kanji" / "kkanji_32x32.npz") as found:
        images, labels = torch.from_numpy(found["images"]), found["class_index"].tolist()
    return Pool(embed_all(base, images), labels, "kanji")


def kanji(seeds: int) -> Iterator[Kind]:
    base = glyphs()
    pool = kanji_features(base)
    strange = omniglot_features(base).inputs
    for seed in range(seeds):
        calibration, test = pool.split(0.42, 0.58, seed=seed)
        groups = dict.fromkeys(test.classes, "kanji")
        yield Kind("kanji", calibration, test, groups, {"Omniglot": strange}, on_features(base))


def omniglot_features(base: Learner) -> Pool:
    """Features of all 1,623 characters, upright only."""
    splits = kshot.vision.omniglot(data_folder() / "omniglot", rotate=False)
    pools = [part.pool for part in (splits.train, splits.validation, splits.test)]
    labels = [pool.classes[int(t)] for pool in pools for t in pool.targets]
    return Pool(torch.cat([embed_all(base, pool.inputs) for pool in pools]), labels, "omniglot")


def omniglot(seeds: int) -> Iterator[Kind]:
    base = glyphs()
    pool = omniglot_features(base)
    strange = kanji_features(base).inputs
    for seed in range(seeds):
        calibration, test = pool.split(0.42, 0.58, seed=seed)
        groups = {name: str(name).partition("/")[0] for name in test.classes}
        yield Kind("omniglot", calibration, test, groups, {"kanji": strange}, on_features(base))


def clinc150(seeds: int) -> Iterator[Kind]:
    """Intents split 3 / 5 / 7 in each of the ten domains: features are fitted on the first, calibrated on the second."""
    folder = data_folder() / "clinc150"
    with gzip.open(folder / "clinc150_full.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    domains = json.loads((folder / "domains.json").read_text())
    counts = hashed([r["text"] for r in rows])
    for seed in range(seeds):
        split: dict[str, int] = {}
        for intents in domains.values():
            order = torch.randperm(len(intents), generator=generator(seed, "intents")).tolist()
            split |= {intents[i]: (place >= 3) + (place >= 8) for place, i in enumerate(order)}
        features = reduced(counts, [i for i, r in enumerate(rows) if split.get(r["intent"]) == 0])
        calibration, test = (
            Pool(features[own], [rows[i]["intent"] for i in own], "clinc150")
            for own in ([i for i, r in enumerate(rows) if split.get(r["intent"]) == part] for part in (1, 2))
        )
        groups = {intent: domain for domain, intents in domains.items() for intent in intents}
        far = {"out of scope": features[[i for i, r in enumerate(rows) if r["oos"]]]}
        learner = ProtoNet(kshot.encoders.identity(features.shape[1])).eval()
        yield Kind("clinc150", calibration, test, groups, far, learner)


def hashed(texts: list[str]) -> Any:
    """Hashed counts of n-grams of characters inside words, [texts, 2^16], sparse."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), n_features=2**16, alternate_sign=False
    ).transform(texts)


def reduced(counts: Any, seen: list[int]) -> Tensor:
    """Weighted and reduced to 384 numbers of length 1, by what the rows `seen` say."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize

    weighted = TfidfTransformer(sublinear_tf=True).fit(counts[seen]).transform(counts)
    short = TruncatedSVD(384, random_state=0).fit(weighted[seen]).transform(weighted)
    return torch.from_numpy(normalize(short).astype("float32"))


KINDS: dict[str, Callable[[int], Iterator[Kind]]] = {
    "kanji": kanji,
    "omniglot": omniglot,
    "clinc150": clinc150,
}


def learners_of(kind: Kind) -> dict[str, Learner]:
    """The learner as it comes, where that is calibrated, and calibrated on classes of the same data."""
    found = {"calibrated on glyphs": kind.learner} if len(kind.learner.self_knowledge) else {}
    own = on_features(kind.learner)
    calibrate(own, Episodes(kind.calibration, NWayKShot(2, 1, 1)), tasks=200)
    return {**found, "calibrated on its own kind": own}


Gathered = dict[tuple[str, str], list[float]]
"""(protocol, figure) to a value for each task."""


def sets(kind: Kind, learner: Learner, seed: int, out: Gathered) -> None:
    """Coverage and size of sets, calibration error before and after, refusals of known inputs."""
    for ways, shots in SETS:
        found, plain = Reliability(), Reliability()
        name = f"{ways}w{shots}s"
        source = Episodes(kind.test, NWayKShot(ways, shots, 10))
        rng = generator(seed, "trust", name)
        for _ in range(TASKS):
            task = encoded(source.sample(rng))
            assert isinstance(task.space, Classes)
            own = answer(learner, task, embedded=True)
            found.count(prediction(learner, task.space, own), own.targets)
            plain.count(task.space.decode(own.outputs), own.targets)
        for figure, values in found.means.items():
            out.setdefault((name, figure), []).extend(values)
        out.setdefault((name, "accuracy"), []).extend(float(h.mean()) for h in found.hits)
        for figure, r in (("ece", found), ("ece before", plain)):
            out.setdefault((name, figure), []).extend(resampled_errors(r, rng))


def resampled_errors(found: Reliability, rng: torch.Generator) -> list[float]:
    """Calibration error of 40 resamples of the tasks: its spread is the interval."""
    out = []
    for _ in range(40):
        picks = torch.randint(len(found.hits), (len(found.hits),), generator=rng).tolist()
        confidence, hits = (
            np.concatenate([part[p] for p in picks]) for part in (found.confidence, found.hits)
        )
        out.append(expected_calibration_error(confidence, hits))
    return out


def unknown(kind: Kind, learner: Learner, seed: int, out: Gathered) -> None:
    """Known inputs against near ones (other classes of the task's alphabet or domain) and far ones."""
    for ways, shots in ((5, 1), (5, 5)):
        rng = generator(seed, "trust unknown", ways, shots)
        scores: dict[str, list[Tensor]] = {}
        for _ in range(TASKS):
            task, strangers = with_strangers(kind, ways, shots, rng)
            assert isinstance(task.space, Classes)
            known = answer(learner, encoded(task), embedded=True)
            inside = prediction(learner, task.space, known)
            keep(scores, "known", inside.scores, known.outputs)
            refusals(out, f"{ways}w{shots}s", "known", inside.scores, inside)
            for name, inputs in strangers.items():
                query = Examples(inputs, [task.space.labels[0]] * len(inputs))
                asked = answer(learner, encoded(Task(task.space, task.support, query)), embedded=True)
                outside = prediction(learner, task.space, asked)
                keep(scores, name, outside.scores, asked.outputs)
                refusals(out, f"{ways}w{shots}s", name, outside.scores, outside)
        for name in (name for name in scores if not name.startswith(("known", "bare "))):
            for score in ("", "bare "):
                tell_apart(out, f"{ways}w{shots}s", name, score, scores, rng)


def with_strangers(kind: Kind, ways: int, shots: int, rng: torch.Generator) -> tuple[Task, dict[str, Tensor]]:
    """A task within one group, and inputs of none of its classes: of the same group, and of another kind."""
    members: dict[str, list[int]] = {}
    for place, label in enumerate(kind.test.classes):
        members.setdefault(kind.groups[label], []).append(place)
    enough = [places for places in members.values() if len(places) > ways]
    places = enough[int(torch.randint(len(enough), (), generator=rng))]
    order = [places[i] for i in torch.randperm(len(places), generator=rng).tolist()]
    task = Episodes(kind.test.only(order[:ways]), NWayKShot(ways, shots, 4)).sample(rng)
    rest = torch.cat([kind.test.members[c] for c in order[ways:]])
    found = {"near": kind.test.inputs[pick(rest, 20, rng)]}
    for name, inputs in kind.far.items():
        found[f"far ({name})"] = inputs[pick(torch.arange(len(inputs)), 20, rng)]
    if len(enough) > 1:
        own = set(places)
        others = torch.cat([m for c, m in enumerate(kind.test.members) if c not in own])
        found["far (other alphabets or domains)"] = kind.test.inputs[pick(others, 20, rng)]
    return task, found


def pick(rows: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """`count` of the rows by chance."""
    return rows[torch.randperm(len(rows), generator=rng)[:count]]


def keep(scores: dict[str, list[Tensor]], name: str, familiar: Any, outputs: Tensor) -> None:
    """Familiarity, and the bare best score that kshot refused by before."""
    scores.setdefault(name, []).append(torch.as_tensor(familiar))
    scores.setdefault(f"bare {name}", []).append(outputs.amax(1))


def refusals(out: Gathered, protocol: str, name: str, scores: Any, answers: Any) -> None:
    """Share refused at two requested shares."""
    for share in (0.05, 0.1):
        figure = f"{name}, refused at {share:.0%}"
        refused = scores < answers.sureness.threshold(share)
        out.setdefault((protocol, figure), []).append(float(refused.mean()))


def tell_apart(
    out: Gathered, protocol: str, name: str, score: str, scores: dict[str, list[Tensor]], rng: torch.Generator
) -> None:
    """AUROC and FPR95 over all tasks, of 40 resamples of the tasks."""
    label = f"{name}, " + ("bare score" if score else "familiarity")
    inside, outside = scores[f"{score}known"], scores[f"{score}{name}"]
    for _ in range(40):
        picks = torch.randint(len(inside), (len(inside),), generator=rng).tolist()
        found = separation(
            torch.cat([inside[p] for p in picks]).numpy(), torch.cat([outside[p] for p in picks]).numpy()
        )
        out.setdefault((protocol, f"auroc {label}"), []).append(found.auroc)
        out.setdefault((protocol, f"fpr95 {label}"), []).append(found.fpr95)


def noise(kind: Kind, learner: Learner, seed: int, out: Gathered) -> None:
    """Every tenth label replaced by another class of the task, at 5 shots: how many are found, how many listed."""
    for ways in (5, 20):
        rng = generator(seed, "trust noise", ways)
        source = Episodes(kind.test, NWayKShot(ways, 5, 1))
        for _ in range(TASKS if ways == 5 else TASKS // 3):
            task = source.sample(rng)
            labels, wrong = with_noise(task, rng)
            assert task.support is not None
            listed = {
                s.id for s in learner.adapt(task.support.inputs, labels, space=task.space).suspect_labels()
            }
            planted = {f"e{place}" for place in wrong}
            out.setdefault((f"{ways}w5s", "listed"), []).append(float(len(listed)))
            out.setdefault((f"{ways}w5s", "planted"), []).append(float(len(planted)))
            out.setdefault((f"{ways}w5s", "found"), []).append(float(len(listed & planted)))


def with_noise(task: Task, rng: torch.Generator) -> tuple[list[Any], list[int]]:
    """The support's labels with a tenth replaced, no class losing its last example; and where."""
    assert task.support is not None
    assert isinstance(task.space, Classes)
    labels, given = list(task.space.labels), list(task.support.targets)
    count = max(1, round(len(given) / 10))
    wrong = torch.randperm(len(given), generator=rng)[:count].tolist()
    for place in wrong:
        others = [label for label in labels if label != given[place]]
        given[place] = others[int(torch.randint(len(others), (), generator=rng))]
    return (given, wrong) if set(given) == set(labels) else with_noise(task, rng)


def estimate(kind: Kind, learner: Learner, seed: int, out: Gathered) -> None:
    """The self-estimate against the accuracy on 15 further examples a class of the same task."""
    for ways, shots in ((5, 2), (5, 5), (20, 5)):
        rng = generator(seed, "trust estimate", ways, shots)
        source, name = Episodes(kind.test, NWayKShot(ways, shots, 15)), f"{ways}w{shots}s"
        for _ in range(TASKS // 2):
            task = source.sample(rng)
            assert task.support is not None
            assert task.query is not None
            taught = learner.adapt(task.support)
            found = taught.self_estimate()
            assert found.leave_one_out is not None
            accuracy = taught.check(task.query.inputs, task.query.targets)
            true = accuracy.right / accuracy.total
            assert found.accuracy is not None
            assert found.low is not None
            assert found.high is not None
            out.setdefault((name, "estimate minus truth"), []).append(found.accuracy - true)
            out.setdefault((name, "leave-one-out minus truth"), []).append(found.leave_one_out - true)
            out.setdefault((name, "interval holds truth"), []).append(float(found.low <= true <= found.high))


PARTS = {"sets": sets, "unknown": unknown, "noise": noise, "estimate": estimate}
RESAMPLED = ("ece", "auroc", "fpr95")


def write(part: str, data: str, learner: str, gathered: Gathered, seeds: int, seconds: float) -> None:
    """A row for each figure; percent, but for sizes of sets."""
    for (protocol, figure), values in gathered.items():
        if figure in ("listed", "planted", "found"):
            continue
        keep_row(part, data, learner, protocol, figure, interval(figure, values), len(values), seeds, seconds)
    for protocol in dict.fromkeys(p for p, figure in gathered if figure == "listed"):
        listed, planted, found = (np.array(gathered[protocol, f]) for f in ("listed", "planted", "found"))
        for figure, total in (("precision", listed), ("recall", planted)):
            keep_row(part, data, learner, protocol, figure, ratio(found, total), len(found), seeds, seconds)


def interval(figure: str, values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval: over tasks, or the spread of resamples of tasks."""
    if figure.startswith(RESAMPLED):
        low, high = np.quantile(values, [0.025, 0.975])
        return float(np.mean(values)), float(low), float(high)
    i = Interval.of(values)
    return i.mean, i.low, i.high


def ratio(found: np.ndarray, total: np.ndarray) -> tuple[float, float, float]:
    """Ratio of sums over tasks, with the spread of 1000 resamples of the tasks."""
    picks = np.random.default_rng(0).integers(len(found), size=(1000, len(found)))
    spread = found[picks].sum(1) / np.maximum(total[picks].sum(1), 1)
    low, high = np.quantile(spread, [0.025, 0.975])
    return float(found.sum() / total.sum()), float(low), float(high)


def keep_row(
    part: str,
    data: str,
    learner: str,
    protocol: str,
    figure: str,
    values: tuple[float, float, float],
    count: int,
    seeds: int,
    seconds: float,
) -> None:
    """Print and append a figure."""
    scale = 1.0 if figure.endswith("set_size") else 100.0
    mean, low, high = (scale * v for v in values)
    print(
        f"{data:9s} {learner:27s} {protocol:6s} {figure:55s} {mean:7.2f}  [{low:.2f}, {high:.2f}]", flush=True
    )
    append(
        "trust",
        what=f"{part}: {figure}",
        data=data,
        protocol=protocol,
        encoder=learner,
        regime="inductive, marginal over tasks",
        value=mean,
        low=low,
        high=high,
        n_tasks=TASKS * seeds if figure.startswith(RESAMPLED) else count,
        seeds=list(range(seeds)),
        cpu_seconds=round(seconds),
    )


def main() -> None:
    """Measure the parts and data that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--data", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for data in options.data:
        start, seeds = time.process_time(), 0
        found: dict[tuple[str, str], Gathered] = {}
        for seed, kind in enumerate(KINDS[data](options.seeds)):
            seeds += 1
            for name, learner in learners_of(kind).items():
                for part in options.parts:
                    with torch.no_grad(), evaluating(learner):
                        PARTS[part](kind, learner, seed, found.setdefault((part, name), {}))
        for (part, name), gathered in found.items():
            write(part, data, name, gathered, seeds, time.process_time() - start)


if __name__ == "__main__":
    main()
