"""`kshot.choose` against every fixed choice, on the six sets of `benchmarks.six_sets`, 5-way 5- and 10-shot.

python -m benchmarks.choose run       every task once, kept in runs/choose (about 40 CPU minutes with the default counts)
python -m benchmarks.choose rows      rows: choice minus the best single fixed choice, per set and on average

Pictures start from the bundled base `glyphs`; texts are rows of 384 n-gram features, without a base. The fixed choices
are what `choose` compares: five heads and three adapters, each used for every task. For rows an adapter has nothing to
move, and there its fixed choice is the nearest class mean. The best single fixed choice has the best mean over the six
sets on the very test tasks, which no one can know before. The budget of 30 s counts CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import kshot
from benchmarks import estimators, six_sets
from benchmarks.rows import ROOT, append
from kshot.data import Pool
from kshot.encoders import ScaledRows
from kshot.errors import InputWarning
from kshot.learners import Adapter, ClosedForm
from kshot.seeds import generator
from kshot.tasks import NWayKShot
from kshot.tuning.candidates import ADAPTERS, heads_on

SETS = (*six_sets.PICTURES, *six_sets.TEXTS)
SHOTS = (5, 10)
QUERIES = 10
BUDGET = 30.0
FOLDER = ROOT / "runs" / "choose"


def tasks(
    pool: Pool, name: str, shots: int, count: int
) -> Iterator[tuple[Tensor, list[Any], Tensor, list[Any]]]:
    """`count` tasks: support, labels, queries, labels."""
    rng = generator(0, "choose", name, shots)
    for _ in range(count):
        plan = NWayKShot(5, shots, QUERIES).draw(pool.sizes, rng)
        found: list[Any] = []
        for part in ("support", "query"):
            places = torch.cat([pool.members[draw.index][list(getattr(draw, part))] for draw in plan])
            found += [pool.inputs[places], pool.targets[places].tolist()]
        yield tuple(found)  # type: ignore[misc]


def fixed(base: ClosedForm | None, inputs: Tensor) -> dict[str, Any]:
    """Every fixed choice by name."""
    if base is None:
        encoder = ScaledRows.fitted(inputs, power=0.0, unit=True)
        made: dict[str, Any] = dict(heads_on(encoder, encoder(inputs.double())))
        return {**made, **dict.fromkeys(ADAPTERS, made["prototype"])}
    features = base.adapt(inputs, list(range(len(inputs)))).embedded
    adapters = {name: Adapter.of(base, m, steps=s, rate=r) for name, (m, s, r) in ADAPTERS.items()}
    return {**heads_on(base.encoder, features), **adapters}


def one(base: ClosedForm | None, task: tuple[Tensor, list[Any], Tensor, list[Any]]) -> dict[str, Any]:
    """Accuracies in % of the choice and of every fixed choice on one task."""
    inputs, targets, queries, expected = task
    before = time.process_time()
    choice = kshot.choose(inputs, targets, base=base, budget=BUDGET, clock=time.process_time)
    spent = time.process_time() - before
    done: dict[int, float] = {}
    found: dict[str, Any] = {
        "choice": _accuracy(choice.task, queries, expected),
        "name": choice.name,
        "seconds": spent,
    }
    for name, learner in fixed(base, inputs).items():
        if id(learner) not in done:
            done[id(learner)] = _accuracy(learner.adapt(inputs, targets), queries, expected)
        found[name] = done[id(learner)]
    return found


def _accuracy(task: Any, queries: Tensor, expected: list[Any]) -> float:
    labels = task.predict(queries).labels
    return 100 * statistics.fmean(float(a == b) for a, b in zip(labels, expected, strict=True))


def run(names: list[str], pictures: int, texts: int) -> None:
    """Every task of every cell; what is there already is not done again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    glyphs = six_sets.glyphs()
    assert isinstance(glyphs, ClosedForm)
    for name in names:
        shown = name in six_sets.PICTURES
        base = glyphs if shown else None
        pool = six_sets.pictures(name) if shown else estimators.pool(name)
        for shots in SHOTS:
            file = FOLDER / f"{name}-{shots}.jsonl"
            have = len(file.read_text().splitlines()) if file.exists() else 0
            with file.open("a", encoding="utf-8") as out:
                for number, task in enumerate(tasks(pool, name, shots, pictures if shown else texts)):
                    if number >= have:
                        out.write(json.dumps(one(base, task)) + "\n")
                        out.flush()
            print(f"{name} {shots} shots: done", flush=True)


def rows(names: list[str]) -> None:
    """Per shots: the best single fixed choice by its mean over the sets, and the choice against it."""
    for shots in SHOTS:
        cells = {name: _cell(name, shots) for name in names}
        fixed_names = [key for key in cells[names[0]][0] if key not in ("choice", "name", "seconds")]
        means = {f: statistics.fmean(_mean(cells[name], f) for name in names) for f in fixed_names}
        best = max(means, key=lambda f: means[f])
        print(f"{shots} shots, fixed choices: " + ", ".join(f"{f} {m:.2f}" for f, m in means.items()))
        for name, cell in cells.items():
            _row(name, shots, best, [cell])
            print(
                f"    taken: {dict(Counter(task['name'] for task in cell))}; {_mean(cell, 'seconds'):.1f} CPU s"
            )
        _row("mean of the six sets", shots, best, list(cells.values()))


def _cell(name: str, shots: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}-{shots}.jsonl").read_text().splitlines()]


def _mean(cell: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(task[key] for task in cell)


def _row(name: str, shots: int, best: str, cells: list[list[dict[str, Any]]]) -> None:
    """One cell, or the mean over cells, whose tasks are independent."""
    differences = [[task["choice"] - task[best] for task in cell] for cell in cells]
    mean = statistics.fmean(map(statistics.fmean, differences))
    half = 1.96 * sum(statistics.variance(d) / len(d) for d in differences) ** 0.5 / len(cells)
    ours, theirs = (statistics.fmean(_mean(cell, key) for cell in cells) for key in ("choice", best))
    print(f"  {name}: choice {ours:.2f}, {best} {theirs:.2f}, difference {mean:+.2f} +- {half:.2f}")
    append(
        "choose",
        what=f"choose minus the best single fixed choice ({best})",
        data=name,
        protocol=f"5w{shots}s",
        regime="inductive",
        value=mean,
        low=mean - half,
        high=mean + half,
        n_tasks=sum(map(len, cells)),
        seeds=[0],
        cpu_seconds=round(sum(task["seconds"] for cell in cells for task in cell)),
        ours=ours,
        theirs=theirs,
        best_of_each=statistics.fmean(_best(cell) for cell in cells),
    )


def _best(cell: list[dict[str, Any]]) -> float:
    """Mean of the fixed choice that is best on this very set."""
    return max(_mean(cell, key) for key in cell[0] if key not in ("choice", "name", "seconds"))


def main() -> None:
    """Run tasks, or make rows of what ran."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "rows"))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--pictures", type=int, default=20, help="tasks of each set of pictures")
    parser.add_argument("--texts", type=int, default=100, help="tasks of each set of texts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter(
        "ignore", InputWarning
    )  # photographs are nothing that glyphs has seen: that is the test
    if options.what == "run":
        run(options.sets, options.pictures, options.texts)
    else:
        rows(options.sets)


if __name__ == "__main__":
    main()
