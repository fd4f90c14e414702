"""One demonstration in Meta-World, its goal hidden: reach where the expert reached.

python -m benchmarks.meta_world             3 seeds, 50 goals that no policy saw
python -m benchmarks.meta_world --task push-v3

Meta-World installs another MuJoCo than the rest of kshot, so this runs in an environment of its own: pip install
'kshot[metaworld]'. The expert shows each scene once; nobody else sees the goal. Beside kshot's policy, which reads the demonstration
(a neural process), on the same goals and demonstrations: behaviour cloning of all scenes of training, the same fine-tuned on the
demonstration (rate and steps chosen on validation goals), and the demonstration's actions played again. That last one
solves what always starts the same, as these scenes do, and nothing else.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import kshot
from benchmarks.rows import append
from kshot.control.meta_world import ACTIONS, Scenes, Shown
from kshot.evaluation import Interval
from kshot.seeds import generator
from kshot.tasks import Examples

RATES, STEPS = (1e-3, 3e-3), (30, 150)
Policy = Callable[[Tensor], Tensor]


def scenes(task: str, seed: int, split: str) -> Scenes:
    """50 scenes of one kind."""
    import metaworld

    return Scenes(metaworld.ML1(task, seed=seed), split)


def train(shown: Shown, seed: int) -> tuple[kshot.Learner, float]:
    """A policy that reads a demonstration, and its CPU seconds."""
    seen = torch.cat([episode.inputs for episode in shown.astray])
    mean, std = seen.mean(0).tolist(), seen.std(0).clamp(min=1e-2).tolist()
    torch.manual_seed(seed)
    start = kshot.learners.NeuralProcess(
        kshot.encoders.mlp(seen.shape[1], (128,), mean=mean, std=std), dims=ACTIONS
    )
    run = kshot.fit(
        start,
        shown,
        steps=800,
        meta_batch=16,
        rate=2e-3,
        warmup=20,
        clip=1.0,
        average=0.99,
        seed=seed,
        progress=False,
    )
    return run.learner, run.history[-1]["cpu_seconds"]


def reads(learner: kshot.Learner, demonstration: Examples) -> Policy:
    """The policy adapted to a demonstration."""
    task = learner.adapt(demonstration.inputs, demonstration.targets)

    @torch.no_grad()
    def act(seen: Tensor) -> Tensor:
        found: Tensor = task.outputs(learner.embed(learner.encoder.prepare(seen[None]))).mean[0]
        return found

    return act


def cloned(shown: Shown, seed: int) -> nn.Module:
    """Behaviour cloning of all scenes."""
    inputs, targets = (torch.cat([getattr(e, name) for e in shown.astray]) for name in ("inputs", "targets"))
    mean, std = inputs.mean(0), inputs.std(0).clamp(min=1e-2)
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, ACTIONS)
    )
    stepped(net, (inputs - mean) / std, targets, 2e-3, 2000, generator(seed, "cloning"))
    return nn.Sequential(Scaled(mean, std), net)


class Scaled(nn.Module):
    """Inputs in deviations of training."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def stepped(
    net: nn.Module, inputs: Tensor, targets: Tensor, rate: float, steps: int, rng: torch.Generator
) -> None:
    """Adam on the squared error of actions."""
    optimiser = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (min(256, len(inputs)),), generator=rng)
        loss = (net(inputs[rows]) - targets[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def tuned(net: nn.Module, demonstration: Examples, rate: float, steps: int) -> Policy:
    """The clone, fine-tuned on a demonstration."""
    own = copy.deepcopy(net)
    if steps:
        stepped(own, demonstration.inputs, demonstration.targets, rate, steps, generator(0, "tuning"))
    return torch.no_grad()(lambda seen: own(seen[None])[0])


def again(demonstration: Examples) -> Policy:
    """The demonstration's actions one after the other, then none."""
    left = iter(demonstration.targets)
    return lambda seen: next(left, torch.zeros(ACTIONS))


def rate_of(found: Scenes, demonstrations: list[Examples], make: Callable[[Examples], Policy]) -> np.ndarray:
    """1 for each scene where the policy made from its demonstration succeeds."""
    return np.array([found.succeeds(place, make(one)) for place, one in enumerate(demonstrations)], float)


def chosen(net: nn.Module, valid: Scenes, shown: list[Examples]) -> tuple[float, int]:
    """Rate and steps of fine-tuning that succeed most on validation goals."""
    tried = {
        (rate, steps): rate_of(valid, shown, lambda e, r=rate, s=steps: tuned(net, e, r, s)).mean()  # type: ignore[misc]
        for rate in RATES for steps in STEPS
    }  # fmt: skip
    return max(tried, key=lambda key: tried[key])


def main() -> None:
    """Record, train, measure, write rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="reach-v3")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--goals", type=int, default=200, help="of training, 50 from each of Meta-World's seeds"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng, shown = generator(0, "meta-world", "shown"), None
    for seed in range(options.goals // 50):
        more = Shown.record(scenes(options.task, seed, "train"), rng)
        shown = more if shown is None else shown + more
    assert shown is not None
    valid, test = scenes(options.task, 50, "train"), scenes(options.task, 100, "test")
    to_choose = [valid.shown(place, rng) for place in range(15)]
    demonstrations = [test.shown(place, rng) for place in range(len(test))]
    found: dict[str, list[np.ndarray]] = {}
    cpu = 0.0
    for seed in range(options.seeds):
        learner, took = train(shown, seed)
        net, cpu = cloned(shown, seed), cpu + took
        rate, steps = chosen(net, valid, to_choose)
        print(f"seed {seed}: fine-tuning by {rate}, {steps} steps", flush=True)
        makes: dict[str, Callable[[Examples], Policy]] = {
            "kshot, reads the demonstration": lambda e, own=learner: reads(own, e),  # type: ignore[misc]
            "behaviour cloning": lambda e, own=net: tuned(own, e, 0.0, 0),  # type: ignore[misc]
            "behaviour cloning, fine-tuned": lambda e, own=net, r=rate, s=steps: tuned(own, e, r, s),  # type: ignore[misc]
        }
        if not seed:
            makes["demonstration played again"] = again
        for what, make in makes.items():
            found.setdefault(what, []).append(100 * rate_of(test, demonstrations, make))
            print(f"seed {seed}: {what}: {found[what][-1].mean():.0f} %", flush=True)
    shared = {
        "data": f"Meta-World {options.task}, {len(test)} goals", "regime": "one demonstration, goal hidden", "unit": "%",
        "protocol": f"success within {test.steps} steps, trained on {options.goals} goals", "n_tasks": len(test),
        "metric": "success",
    }  # fmt: skip
    ours = np.mean(found["kshot, reads the demonstration"], 0)
    rows = {what: np.mean(each, 0) for what, each in found.items()}
    rows["kshot over behaviour cloning, fine-tuned"] = ours - rows["behaviour cloning, fine-tuned"]
    for what, values in rows.items():
        over = Interval.of(values.tolist())
        seeds = list(range(len(found.get(what, found["behaviour cloning"]))))
        per_seed = [float(one.mean()) for one in found.get(what, [])]
        append("meta_world", what=what, value=over.mean, low=over.low, high=over.high, seeds=seeds, per_seed=per_seed,
               cpu_seconds=round(cpu if what.startswith("kshot") else time.process_time()), **shared)  # fmt: skip
        print(f"{what}: {over.mean:.1f} +- {over.half:.1f} %", flush=True)


if __name__ == "__main__":
    main()
