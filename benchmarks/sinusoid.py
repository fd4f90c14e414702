"""Sinusoid regression of the MAML paper: 5 support points, mean squared error on 2,000 test tasks.

python -m benchmarks.sinusoid maml           one learner, 3 seeds
python -m benchmarks.sinusoid all --seeds 1  every learner below

All share the paper's network, two hidden layers of 40 with ReLU. Tasks of training, validation and test
come from independent generators. Settings were chosen on validation tasks only.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.func import vmap

import kshot
from benchmarks.rows import append
from kshot.data import Sinusoids
from kshot.evaluation import Interval
from kshot.learners import ClosedForm, GradientLearner, Learner, NeuralProcess, maml, meta_sgd
from kshot.seeds import generator
from kshot.tasks import Examples, Task

TRAIN = Sinusoids(shots=5, queries=10)
TEST = Sinusoids(shots=5, queries=50)
COMMON = {"meta_batch": 100, "rate": 3e-3, "average": 0.995, "executor": "vmap", "validation_tasks": 200}
STEPS = (0, 1, 5, 10)
RATES = (0.001, 0.003, 0.01, 0.02, 0.05)


def encoder() -> kshot.encoders.MLP:
    """The paper's body: 1 -> 40 -> 40, ReLU."""
    return kshot.encoders.mlp(1, (40, 40))


Make = Callable[[], Learner]
LEARNERS: dict[str, tuple[Make, int]] = {
    "maml": (lambda: maml(encoder(), outputs=1, rate=0.01), 5000),
    "meta_sgd": (lambda: meta_sgd(encoder(), outputs=1, rate=0.02), 2000),
    "pretrained": (lambda: GradientLearner(encoder(), outputs=1, steps=0, rate=0.01), 600),
    "ridge": (lambda: ClosedForm(encoder(), "ridge"), 2000),
    "kernel_ridge": (lambda: ClosedForm(encoder(), "kernel_ridge"), 2000),
    "bayesian": (lambda: ClosedForm(encoder(), "bayesian"), 2000),
    "neural_process": (lambda: NeuralProcess(encoder(), dims=1), 3000),
}


def errors(learner: Learner, name: str, count: int) -> list[float]:
    """Mean squared error of each of `count` fixed tasks; `name` ("validation", "test") chooses them."""
    ready = learner.prepare_many(TEST.sample_batch(count, generator(0, "sinusoid", name)))
    space = ready[0].space

    def mse(*parts: torch.Tensor) -> torch.Tensor:
        task = Task(space, Examples(parts[0], parts[1]), Examples(parts[2], parts[3]))
        outputs, targets = learner.answer(task)
        mean = outputs if isinstance(outputs, torch.Tensor) else outputs.mean
        return (mean - targets).square().mean()

    rows = [(t.support.inputs, t.support.targets, t.query.inputs, t.query.targets) for t in ready]
    with torch.no_grad():
        return list(vmap(mse, chunk_size=500)(*map(torch.stack, zip(*rows, strict=True))).tolist())


def train(name: str, seed: int, steps: int | None, folder: Path) -> tuple[Learner, float]:
    """A trained learner and the CPU seconds it took."""
    make, default = LEARNERS[name]
    torch.manual_seed(seed)
    steps = steps or default
    settings = kshot.Settings(**COMMON, steps=steps, seed=seed, validate_every=max(steps // 5, 1))
    place = folder / f"sinusoid-{name}-{seed}"
    run = kshot.fit(make(), TRAIN, validate=TEST, folder=place, settings=settings)
    learner = run.learner
    if name == "pretrained":
        learner = best_rate(learner)
    return learner, run.history[-1]["cpu_seconds"]


def with_steps(learner: Learner, steps: int, rate: float | None = None) -> Learner:
    """A copy of a gradient learner that takes another number of steps, of another size where one is given."""
    changed = copy.deepcopy(learner)
    assert isinstance(changed, GradientLearner)
    changed.steps = steps
    if rate is not None:
        changed.rates.start = rate
    return changed


def best_rate(learner: Learner) -> Learner:
    """The fine-tuning rate of least error after one step on validation tasks."""
    tried = [with_steps(learner, 1, rate) for rate in RATES]
    scores = [sum(errors(one, "validation", 500)) for one in tried]
    return tried[scores.index(min(scores))]


def measure(name: str, options: argparse.Namespace) -> None:
    """Train and evaluate with every seed, and write a row per number of steps."""
    seeds = list(range(options.seeds))
    trained = [train(name, seed, options.steps, options.folder) for seed in seeds]
    cpu = sum(seconds for _, seconds in trained)
    gradient = isinstance(trained[0][0], GradientLearner)
    for steps in STEPS if gradient else (None,):
        start = time.process_time()
        learners = [one if steps is None else with_steps(one, steps) for one, _ in trained]
        values = [errors(learner, "test", options.tasks) for learner in learners]
        # the tasks are shared by the seeds, so they are averaged per task before the interval over tasks
        interval = Interval.of([sum(column) / len(seeds) for column in zip(*values, strict=True)])
        print(f"{name}, {steps} steps: mse {interval.mean:.3f} +- {interval.half:.3f}")
        append(
            "sinusoid",
            what=name,
            data="sinusoids of Finn et al. 2017",
            encoder="mlp 1-40-40",
            protocol="5 shots, 50 queries",
            steps=steps,
            rate=getattr(getattr(learners[0], "rates", None), "start", None),
            regime="inductive",
            metric="mse",
            value=finite(interval.mean),
            low=finite(interval.low),
            high=finite(interval.high),
            n_tasks=options.tasks,
            seeds=seeds,
            per_seed=[finite(sum(v) / len(v)) for v in values],
            cpu_seconds=round(cpu),
            evaluation_cpu_seconds=round(time.process_time() - start, 1),
        )


def finite(value: float) -> float | None:
    """JSON has no infinity: where steps that were not trained for diverge, the figure is null."""
    return value if math.isfinite(value) else None


def main() -> None:
    """Measure one learner or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("learner", choices=[*LEARNERS, "all"])
    parser.add_argument("--steps", type=int, default=None, help="meta-updates; default by learner")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in LEARNERS if options.learner == "all" else [options.learner]:
        measure(name, options)


if __name__ == "__main__":
    main()
