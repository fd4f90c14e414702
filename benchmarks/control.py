"""Robots that break in mid-run: the controller that adapts, one free of context, an oracle that is told, random.

python -m benchmarks.control gather             live through robots with faults (resumes)
python -m benchmarks.control train              models of 3 seeds on these lives (resumes)
python -m benchmarks.control measure            return in the 200 steps after the fault, the fault unannounced
python -m benchmarks.control validate           the same on validation faults, printed only: for choosing
python -m benchmarks.control bound              what knowing the fault is worth, by planning in the simulator itself
python -m benchmarks.control predict            error of the predicted next observation, before any planning
python -m benchmarks.control ship --seed 1      copy the models of a seed to src/kshot/bases
python -m benchmarks.control speed              CPU milliseconds of a control step, one robot, one thread

All models see the same lives and are trained for as many steps; all controllers plan in the same way, from the same
starts, against the same faults. The oracle and the one that adapts are one model; one is told the true parameters, the other finds
them in the last transitions. Lives of training are shared by the seeds, which differ in weights and in the order of training.
Intervals resample seeds and, within each, test lives, whose pairs stay together: they hold for another training, too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import ROOT, append
from kshot.bundles import load_learned
from kshot.control import MPC, Dynamics, Fault, Handover, Life, Lived, Robot, Robots, Shaking, live
from kshot.control.controlled import controlled
from kshot.control.controller import WINDOW, replayed
from kshot.control.practice import MODELS, Practice
from kshot.control.practised import Practised
from kshot.control.simulated import SimulatorControl
from kshot.learners import save_learner
from kshot.seeds import generator

GRIPS = {"half_cheetah": (0.4, 4.0), "ant": (0.7, 4.0)}
"""Factors of friction that are trained on; from 2 on they are tested. To know that the floor is slippery is of no use to an ant's
planner in the simulator, which earns less by it."""

LOADS = {"half_cheetah": (1.0, 3.0, 5.0, 7.0), "ant": (1.0, 8.0, 16.0, 24.0)}
"""Factors of the torso's weight, by robot: from the first to the third is trained on, from the second to the third tested, from
there to the last held out. An ant's motors are strong for its weight: what five times the torso's costs who does not know it is
little even to a planner in the simulator itself (`bound`)."""


def ranges(robot: str) -> dict[str, Any]:
    """What is trained on."""
    load = LOADS[robot]
    return {
        "weak": (1, 3),
        "strength": (0.1, 0.7),
        "payload": (load[0], load[2]),
        "friction": GRIPS[robot],
        "whole": 0.1,
    }


def faults(robot: str) -> dict[str, dict[str, Any]]:
    """What is tested on."""
    load = LOADS[robot]
    return {
        "joint strength": {"kinds": ("joint",), "weak": (2, 3), "strength": (0.1, 0.3)},
        "payload": {"kinds": ("payload",), "payload": load[1:3]},
        "friction": {"kinds": ("friction",), "friction": (2.0, 4.0)},
        "held out: joint strength": {"kinds": ("joint",), "weak": (2, 3), "strength": (0.0, 0.1)},
        "held out: payload": {"kinds": ("payload",), "payload": load[2:4]},
        "held out: friction": {"kinds": ("friction",), "friction": (4.0, 6.0)},
    }


BOUNDED: dict[str, dict[str, Any]] = {
    "slippery floor": {"kinds": ("friction",), "friction": (0.2, 0.35)},
    "strength of five or six joints": {"kinds": ("joint",), "weak": (5, 6), "strength": (0.15, 0.4)},
    "payload of three to five": {"kinds": ("payload",), "payload": (3.0, 5.0)},
}
"""Faults of which only the bound was measured."""
SHIPPED = {"adaptive": "", "plain": "_plain"}
"""Bases that travel with kshot, by model; the oracle is the first, told."""
BEFORE, AFTER = 60, 200
PLANNING = {"half_cheetah": MPC(horizon=12), "ant": MPC(horizon=12, spread=0.35)}
"""How controllers plan; chosen on lives of validation."""
SIMULATED = 48
"""Plans of a planner in the simulator, where one costs more."""


def trained_on(robot: str) -> Robots:
    """The robots of training."""
    return Robots(robot=robot, **ranges(robot))


def practised(options: argparse.Namespace) -> Practised:
    """Training, as far as it has come in the folder."""
    return Practised(
        trained_on(options.robot), PLANS[options.robot], seed=0, folder=options.folder / f"control-{options.robot}",
        device=options.device, told=lambda text: print(f"{time.process_time():.0f} s: {text}", flush=True),
    )  # fmt: skip


PLANS = {
    "half_cheetah": Practice(last=4000),
    # physics of the ant take six times as long, and its feet are harder to predict
    "ant": Practice(
        simulated=20,
        shaken=16,
        rounds=6,
        lives=4,
        first=2500,
        steps=1200,
        last=8000,
        hidden=(256, 256, 256),
        rows=1024,
        mpc=PLANNING["ant"],
        rehearsed=(3, 0.4),
        recalled=2,
        settings={"rate": 1e-2, "warmup": 20, "clip": 1.0, "average": 0.98},
    ),
}


def models(options: argparse.Namespace) -> Iterator[tuple[int, dict[str, Dynamics], float]]:
    """Seed, models, and the CPU seconds that their training took, without that of the lives."""
    practice = practised(options)
    if options.round is not None:
        yield 0, *of_round(practice, options.round)
        return
    seeds = range(options.seeds) if options.seed is None else (options.seed,)
    if options.part != "train" and all(finished(practice, seed) for seed in seeds):
        for seed in seeds:
            yield seed, *finished(practice, seed)
        return
    practice.gather()
    for seed in seeds:
        before = practice.cpu
        yield seed, practice.anew(seed), practice.cpu - before


def finished(practice: Practised, seed: int) -> tuple[dict[str, Dynamics], float] | tuple[()]:
    """The models of a training that was ended, and its CPU seconds; nothing where it was not."""
    assert practice.folder is not None
    begun = [practice.folder / f"fit-last-{seed}-{name}" for name in ("plain", "told")]
    folders = {name: practice.folder / f"fit-last-{seed}-more-{name}" for name in ("plain", "told")}
    if not all((folder / "learner.kshot").exists() for folder in folders.values()):
        return ()
    logs = [folder / "log.jsonl" for folder in (*begun, *folders.values())]
    cpu = sum(json.loads(log.read_text().splitlines()[-1])["cpu_seconds"] for log in logs)
    return by_name(*(load_learned(folder / "learner.kshot") for folder in folders.values())), cpu


def by_name(plain: Any, told: Any) -> dict[str, Dynamics]:
    """Models of a training. The one that adapts is the oracle's."""
    found = told.adaptive().eval()
    return {"adaptive": found, "plain": plain, "told": found}


def of_round(practice: Practised, turn: int) -> tuple[dict[str, Dynamics], float]:
    """The models that drove a round of gathering, and the CPU seconds of all training up to there."""
    assert practice.folder is not None
    plain, told = (
        load_learned(practice.folder / f"fit-{turn}-{name}" / "learner.kshot") for name in ("plain", "told")
    )
    labels = ("first", "first-more", *(str(done) for done in range(1, turn + 1)))
    logs = [
        practice.folder / f"fit-{label}-{name}" / "log.jsonl"
        for label in labels
        for name in ("plain", "told")
    ]
    cpu = sum(json.loads(log.read_text().splitlines()[-1])["cpu_seconds"] for log in logs)
    return by_name(plain, told), cpu


def lives_of(robot: str, fault: str, count: int, stream: str) -> tuple[Robots, list[Life]]:
    """Test robots: whole for a while, then the fault comes."""
    family = Robots(
        robot=robot, steps=BEFORE + AFTER, change=(BEFORE, BEFORE), **(faults(robot) | BOUNDED)[fault]
    )
    rng = generator(0, "control", stream, fault)
    return family, [family.life(rng) for _ in range(count)]


class Again:
    """Does again what was done up to the fault, so that it need not be planned for each controller: the same bits.

    Args:
        actions: [lives, steps, joints]. plan: what was in mind at the end.
    """

    def __init__(self, actions: torch.Tensor, plan: torch.Tensor) -> None:
        self.actions, self.plan, self.taken = actions, plan, 0

    def act(self, seen: torch.Tensor) -> torch.Tensor:
        """The next action of each."""
        self.taken += 1
        return self.actions[:, self.taken - 1]

    def observe(self, *row: torch.Tensor) -> None:
        """Nothing is to be learned."""


def driven(family: Robots, lives: list[Life], plain: Dynamics) -> Again:
    """The context-free controller drives up to the fault."""
    first: Any = controlled(
        plain, "plain", family, lives, PLANNING[family.robot], generator(0, "control", "drive")
    )[0]
    actions = live(family, lives, first, steps=BEFORE).actions
    return Again(actions, first.plan)


def returns(
    family: Robots, lives: list[Life], name: str, model: dict[str, Dynamics], window: int, drive: Again
) -> np.ndarray:
    """Rewards [lives, steps]: the context-free controller drives up to the fault, then this one; or random actions."""
    rng = generator(0, "control", "plans")
    if name == "random":
        acting: Any = Shaking(len(lives), len(family.body.joints), rng)
        tell = None
    else:
        acting, tell = controlled(model[name], name, family, lives, PLANNING[family.robot], rng, window)
    first = Again(drive.actions, drive.plan)
    return live(family, lives, Handover(first, acting, BEFORE), at_step=tell).rewards.numpy()


def bound(options: argparse.Namespace) -> None:
    """What knowing the fault is worth where the model is the world: planning in the simulator, whole or as it is."""
    mpc = PLANNING[options.robot]
    for fault in options.faults or faults(options.robot):
        family, lives = lives_of(options.robot, fault, options.lives, "bound")
        rows = np.stack([bounded(options, family, fault, place, life) for place, life in enumerate(lives)])
        parts = {
            "simulator, told the fault": lambda r: r[:, 0].mean(),
            "simulator, taken to be whole": lambda r: r[:, 1].mean(),
            "worth of knowing, in the simulator": lambda r: (r[:, 0] - r[:, 1]).mean(),
        }
        for what, statistic in parts.items():
            value, low, high = interval(rows, statistic)
            print(f"{fault}: {what}: {value:.0f} ({low:.0f} to {high:.0f})", flush=True)
            append("control", what=what, metric="bound", unit="", value=value, low=low, high=high, seeds=[0],
                   data=f"{options.robot}, {fault}", regime="planning in the simulator itself", n_tasks=len(lives),
                   protocol=f"return of the {AFTER} steps after the fault, {SIMULATED} plans of {mpc.horizon} steps",
                   cpu_seconds=round(float(rows[:, 2].sum())))  # fmt: skip


def bounded(options: argparse.Namespace, family: Robots, fault: str, place: int, life: Life) -> np.ndarray:
    """Returns after the fault of a planner in the simulator that is told it, and of one that is not, and the CPU seconds that
    it took; kept in the folder."""
    folder: Path = options.folder / f"control-{options.robot}"
    kept = folder / f"bound-{fault.replace(':', '').replace(' ', '-')}-{place}.npy"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mpc, found = replace(PLANNING[options.robot], plans=SIMULATED), []
        start = time.process_time()
        for believed in (None, Fault()):
            rng = generator(0, "control", "bound", fault, place)
            planners = [SimulatorControl(family.body, mpc, rng, known) for known in (None, believed)]

            def meet(step: int, envs: list[Any], planners: list[Any] = planners) -> None:
                for planner in planners:
                    planner.meet(step, envs)

            lived = live(family, [life], Handover(*planners, BEFORE), at_step=meet)
            found.append(lived.rewards[0, BEFORE:].sum())
        np.save(kept, np.array([*found, time.process_time() - start]))
    return np.asarray(np.load(kept))


def share(rows: np.ndarray) -> float:
    """Of the gap from plain to told, what the adaptive one closes; rows are [lives, (adaptive, plain, told)]."""
    adaptive, plain, told = rows.mean(0)
    return float((adaptive - plain) / (told - plain))


def over_seeds(found: np.ndarray, statistic: Any) -> tuple[float, float, float]:
    """A statistic of rows [lives, models], and its 95 % interval by resampling seeds, and lives within each; `found` is
    [seeds, models, lives]. Seeds share test lives, so lives are drawn once for all."""
    rng, (seeds, _, lives), drawn = np.random.default_rng(0), found.shape, []
    for _ in range(4000):
        some, those = rng.integers(seeds, size=seeds), rng.integers(lives, size=lives)
        drawn.append(statistic(found[some][:, :, those].mean(0).T))
    return float(statistic(found.mean(0).T)), *(float(x) for x in np.percentile(drawn, (2.5, 97.5)))


def interval(rows: np.ndarray, statistic: Any) -> tuple[float, float, float]:
    """A statistic over lives and its 95 % interval by resampling lives, which keeps pairs together."""
    rng = np.random.default_rng(0)
    drawn = [statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(4000)]
    return float(statistic(rows)), *(float(x) for x in np.percentile(drawn, (2.5, 97.5)))


def measure(options: argparse.Namespace, stream: str) -> None:
    """Print, and for the test lives write, what each controller returns and what share of the gap is closed."""
    trained = list(models(options))
    for fault in options.faults or faults(options.robot):
        start = time.process_time()
        found = np.stack([
            measured(options, stream, fault, seed, model) for seed, model, _ in trained
        ])  # [seeds, models and random, lives]  # fmt: skip
        write = stream == "test" and options.seed is None
        report(options, fault, found, sum(cpu for *_, cpu in trained), write)
        print(f"  {time.process_time() - start:.0f} CPU s", flush=True)


def measured(
    options: argparse.Namespace, stream: str, fault: str, seed: int, model: dict[str, Dynamics]
) -> np.ndarray:  # fmt: skip
    """Returns after the fault, [models and random, lives]; kept in the folder, so that a measurement goes on where it was
    stopped."""
    family, lives = lives_of(options.robot, fault, options.lives, stream)
    drive, rows = None, []
    for name in (*options.models, "random"):
        which = (stream, fault, name, seed, len(lives), options.window, options.round)
        label = "-".join(str(part) for part in which).replace(":", "").replace(" ", "-")
        kept: Path = options.folder / f"control-{options.robot}" / f"found-{label}.npy"
        if not kept.exists():
            drive = drive or driven(family, lives, model["plain"].to(options.device))
            there = {who: each.to(options.device) for who, each in model.items()}
            np.save(kept, returns(family, lives, name, there, options.window, drive)[:, BEFORE:].sum(1))
        rows.append(np.load(kept))
    return np.stack(rows)


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Of the models."""
    return [0] if options.round is not None else list(range(options.seeds))


def report(options: argparse.Namespace, fault: str, found: np.ndarray, cpu: float, write: bool) -> None:
    """Rows of one kind of fault; `found` is [seeds, (adaptive, plain, told, random), lives], perhaps without those told."""
    shared = {
        "data": f"{options.robot}, {fault}", "regime": "online, the fault is not announced",
        "protocol": f"return of the {AFTER} steps after the fault", "n_tasks": options.lives,
        "seeds": seeds_of(options), "cpu_seconds": round(cpu), "window": options.window,
    }  # fmt: skip
    told = ("oracle, told the parameters",) if "told" in options.models else ()
    names = ("adaptive", "context-free", *told, "random")
    gap = "oracle over context-free"
    parts: dict[str, Any] = {
        what: lambda r, place=place: r[:, place].mean() for place, what in enumerate(names)
    }
    parts["adaptive over context-free"] = lambda r: (r[:, 0] - r[:, 1]).mean()
    if told:
        parts[gap] = lambda r: (r[:, 2] - r[:, 1]).mean()
    figures = {what: over_seeds(found, statistic) for what, statistic in parts.items()}
    if told and figures[gap][1] > 0:  # of no gap, or one the wrong way round, a share means nothing
        figures["share of the gap closed"] = over_seeds(found, lambda r: 100 * share(r[:, :3]))
    for what, (value, low, high) in figures.items():
        unit = "%" if "share" in what else ""
        one = (lambda r: 100 * share(r[:, :3])) if unit else parts[what]
        per_seed = [round(float(one(each.T)), 1) for each in found]
        print(f"{fault}: {what}: {value:.1f} ({low:.1f} to {high:.1f}) {unit} {per_seed}")
        if write:
            append("control", what=what, metric="share" if unit else "return", unit=unit, value=value, low=low, high=high,
                   per_seed=per_seed, **shared)  # fmt: skip


def errors(model: Dynamics, told: torch.Tensor | None, lived: Lived, window: int, body: Robot) -> np.ndarray:
    """Squared error of the predicted change of forward velocity, [lives, steps], each predicted before it is seen."""
    found = replayed(model, lived.seen, lived.actions, window=window, robot=body, known=told)[
        ..., body.velocity
    ]
    return found.numpy() * model.scale[body.velocity] ** 2


def predict(options: argparse.Namespace) -> None:
    """What each model predicts on the same lives, driven by the context-free controller of the first seed."""
    trained = list(models(options))
    settled = BEFORE + options.window
    for fault in options.faults or faults(options.robot):
        family, lives = lives_of(options.robot, fault, options.lives, "test")
        acting, _ = controlled(
            trained[0][1]["plain"], "plain", family, lives, PLANNING[options.robot], generator(0, "drive")
        )
        lived = live(family, lives, acting)
        joints = len(family.body.joints)
        truth = torch.stack([life.fault.numbers(joints) for life in lives])
        found = np.stack([
            [errors(model[name], truth if name == "told" else None, lived, options.window, family.body)[:, settled:].mean(1)
             for name in MODELS] for _, model, _ in trained
        ])  # [seeds, models, lives]  # fmt: skip
        shared = {
            "data": f"{options.robot}, {fault}", "regime": "online, the fault is not announced", "seeds": seeds_of(options),
            "protocol": f"one step ahead, from {options.window} steps after the fault on, on lives driven by the "
            "context-free controller", "n_tasks": options.lives, "window": options.window,
        }  # fmt: skip
        parts = {f"velocity error, {name}": (lambda r, place=place: r[:, place].mean(), "(m/s)^2")
                 for place, name in enumerate(("adaptive", "context-free", "oracle"))}  # fmt: skip
        parts["share of the gap in prediction closed"] = (lambda r: 100 * share(r), "%")
        for what, (statistic, unit) in parts.items():
            value, low, high = over_seeds(found, statistic)
            print(f"{fault}: {what}: {value:.4g} ({low:.4g} to {high:.4g}) {unit}", flush=True)
            append(
                "control",
                what=what,
                metric="prediction",
                unit=unit,
                value=value,
                low=low,
                high=high,
                **shared,
            )


def speed(options: argparse.Namespace) -> None:
    """CPU time of one control step, learning from the last transition and planning, of the shipped model where there is
    one."""
    torch.set_num_threads(1)
    mpc = PLANNING[options.robot]
    shipped = ROOT / "src" / "kshot" / "bases" / f"{options.robot}.kshot"
    seed, model = 1, load_learned(shipped) if shipped.exists() else None
    if model is None:
        seed, found, _ = next(models(options))
        model = found["adaptive"]
    family, lives = lives_of(options.robot, next(iter(faults(options.robot))), 1, "speed")
    acting, _ = controlled(model, "adaptive", family, lives, mpc, generator(0), options.window)
    times: dict[str, list[float]] = {
        "a control step, planning and learning": [],
        "learning from a transition": [],
    }

    class Timed:
        def act(self, seen: torch.Tensor) -> torch.Tensor:
            self.start = time.process_time()
            action = acting.act(seen)
            self.acted = time.process_time() - self.start
            return action

        def observe(self, *row: torch.Tensor) -> None:
            start = time.process_time()
            acting.observe(*row)
            took = time.process_time() - start
            times["learning from a transition"].append(1000 * took)
            times["a control step, planning and learning"].append(1000 * (took + self.acted))

    live(family, lives, Timed())
    for what, each in times.items():
        value, low, high = interval(np.array(each[20:])[:, None], np.median)
        print(f"{what}: {value:.2f} ms ({low:.2f} to {high:.2f}), largest {max(each[20:]):.2f}")
        append("control", what=what, data=options.robot, metric="ms", unit="ms", value=value, low=low, high=high, seeds=[seed],
               protocol=f"{mpc.plans} plans of {mpc.horizon} steps, CPU time on one thread, median",
               regime="online", n_tasks=len(each) - 20)  # fmt: skip


def main() -> None:
    """Do one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "part", choices=("gather", "train", "measure", "validate", "predict", "speed", "ship", "bound")
    )
    parser.add_argument("--robot", default="half_cheetah", choices=PLANS)
    parser.add_argument("--faults", nargs="*", help="some of them only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, help="this one only, to train or measure several at once")
    parser.add_argument("--round", type=int, help="models of this round of gathering, not those trained anew")
    parser.add_argument("--lives", type=int, default=24)
    parser.add_argument(
        "--models",
        nargs="*",
        default=MODELS,
        help="to measure: adaptive and plain, and told unless its time is saved",
    )
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--device", default="cpu", help="where models are trained and plans are made")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="lives, checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "gather":
        practised(options).gather()
    elif options.part == "train":
        for seed, found, cpu in models(options):
            print(seed, sorted(found), round(cpu))
    elif options.part == "predict":
        predict(options)
    elif options.part == "speed":
        speed(options)
    elif options.part == "bound":
        bound(options)
    elif options.part == "ship":
        _, found, _ = next(models(options))
        for name, base in SHIPPED.items():
            save_learner(found[name], ROOT / "src" / "kshot" / "bases" / f"{options.robot}{base}.kshot")
    else:
        measure(options, "test" if options.part == "measure" else "validation")


if __name__ == "__main__":
    main()
