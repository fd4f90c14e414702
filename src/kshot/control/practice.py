"""Training for control: live, learn, control by what was learned, and learn from that too.

A model that saw random actions only is wrong about where a good plan leads, so what it leads to is added, round by
round: Ross et al. (2011), "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning"
(DAgger). The first lives are partly those of a planner in the simulator itself, which shows fast gaits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from kshot import storage
from kshot.control.controller import Controller
from kshot.control.dynamics import Anchored, Dynamics
from kshot.control.living import Acting, Lived, Shaking, live
from kshot.control.mpc import MPC
from kshot.control.robots import Fault, Life, Robots, RobotTask
from kshot.control.transitions import Transitions
from kshot.encoders import mlp
from kshot.errors import SettingError, UnsupportedError
from kshot.seeds import drawing, generator
from kshot.tasks import InteractiveTask
from kshot.training.fit import fit

MODELS = ("adaptive", "plain", "told")
"""One that adapts, one free of context, and one that is told the true parameters: the oracle's."""


@dataclass(frozen=True)
class Practice:
    """How models are trained; all of them on the same lives, and on as many transitions.

    Attributes:
        simulated, shaken: lives to begin with, of a planner in the simulator and of random actions.
        rounds: of controlling by what was learned, `lives` lives of each model, and learning from all of them.
        length: steps of a stretch; lives last two, and half of the faults come between.
        first, last: meta-updates of the models free of context before the first round, and of those that are kept,
            which are trained anew on all lives.
        steps: the same in each round.
        adapting: meta-updates, as a share of these, in which the adaptive model learns to adapt better; it starts from
            the one that is told the parameters (see `Anchored`). The others go on for as many.
        hidden: widths of the layers.
        shots, queries, tasks: transitions of a task and tasks of a meta-update. Without context it is one task of as
            many transitions.
        mpc: how to plan. simulator: the same for the planner in the simulator.
        noise: standard deviation of what is added to actions, to see more than the best.
        settings: of `kshot.fit`.

    Raises:
        SettingError: nothing to begin with.
    """

    simulated: int = 12
    shaken: int = 100
    rounds: int = 16
    lives: int = 8
    length: int = 100
    first: int = 700
    steps: int = 150
    last: int = 1800
    adapting: float = 0.2
    hidden: tuple[int, ...] = (160, 160, 160)
    shots: tuple[int, ...] = (4, 8, 16, 32)
    queries: int = 32
    tasks: int = 64
    mpc: MPC = MPC(horizon=12)  # noqa: RUF009
    simulator: MPC = MPC(plans=56, horizon=15)  # noqa: RUF009
    noise: float = 0.1
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {
            "rate": 3e-3,
            "warmup": 20,
            "clip": 1.0,
            "average": 0.98,
        }
    )

    def __post_init__(self) -> None:
        if self.simulated + self.shaken < 1:
            raise SettingError(
                f"simulated is {self.simulated} and shaken {self.shaken}; a model needs some life to begin with"
            )


class Practised:
    """Models in training and what was lived through; `run` does it all. Stopped, it goes on from `folder`.

    Args:
        family: robots to practise on. plan: how. seed: decides everything.
        models: some of `MODELS`. folder: for lives, checkpoints and results; None: nothing is kept.
        told: called with a sentence after each piece of work.
    """

    def __init__(
        self, family: Robots, plan: Practice | None = None, *, seed: int = 0, models: tuple[str, ...] = MODELS,
        folder: Path | None = None, told: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        unknown = [name for name in models if name not in MODELS]
        if unknown or not models:
            raise SettingError(f"models is {models}; choose some of {', '.join(MODELS)}")
        self.plan = plan or Practice()
        self.family = replace(family, steps=2 * self.plan.length, change=None)
        self.seed, self.names, self.folder, self.told = seed, models, folder, told
        self.lived: Transitions | None = None
        self.bases: dict[str, Dynamics | Anchored] = {}
        self.cpu = 0.0

    def run(self) -> dict[str, Dynamics]:
        """Practise; returns the models by name."""
        self.gather()
        return self.anew(self.seed)

    def gather(self) -> Transitions:
        """Live and learn in turns; returns what was lived through."""
        plan = self.plan
        self.lived = None
        for who, count in (("simulated", plan.simulated), ("shaken", plan.shaken)):
            if count:
                self._live(who, count, {})
        models = self._begun(plan.first, self.seed, "first") if plan.rounds else {}
        for turn in range(plan.rounds):
            if turn:
                models = self._gone_on(f"{turn}")
            for name in self.names:
                self._live(name, plan.lives, models, turn)
        assert self.lived is not None
        return self.lived

    def anew(self, seed: int) -> dict[str, Dynamics]:
        """Models trained from the start on everything that was lived through; `gather` comes first."""
        found = self._begun(self.plan.last, seed, f"last-{seed}")
        return {name: found[name] for name in self.names}

    def _begun(self, steps: int, seed: int, label: str) -> dict[str, Dynamics]:
        """Models trained from the start, and the adaptive one further on how well it adapts."""
        more = max(1, round(self.plan.adapting * steps))
        for name in ("plain", "told"):
            begun = self._fit(self._fresh(name, seed), name, steps, label, seed)
            if isinstance(begun, Anchored) and "adaptive" in self.names:
                slowly = {**self.plan.settings, "rate": self.plan.settings["rate"] / 4}
                adaptive = self._fit(begun.adaptive(), "adaptive", more, label, seed, slowly)
            self.bases[name] = self._fit(begun, name, more, f"{label}-more", seed)
        found = self._models()
        return {**found, "adaptive": adaptive} if "adaptive" in self.names else found

    def _gone_on(self, label: str) -> dict[str, Dynamics]:
        """Models trained further on what was added; the adaptive one is the one that is told, not told."""
        for name, base in self.bases.items():
            self.bases[name] = self._fit(base, name, self.plan.steps, label, self.seed)
        return self._models()

    def _models(self) -> dict[str, Any]:
        plain, told = self.bases["plain"], self.bases["told"]
        assert isinstance(told, Anchored)
        return {"plain": plain, "told": told.adaptive(), "adaptive": told.adaptive()}

    def _live(self, who: str, count: int, models: dict[str, Dynamics], turn: int = 0) -> None:
        """Add `count` lives under somebody's control."""
        kept = self.folder / f"lives-{turn}-{who}.safetensors" if self.folder else None
        names = ("inputs", "changes", "parameters")
        if kept is not None and kept.exists():
            tensors = storage.read(kept)[1]
            inputs, changes, parameters = (tensors[name] for name in names)
            found = Transitions(inputs, changes, parameters, **self._tasks)
            self.told(f"{who}: {len(found)} stretches found in {kept.name}")
        else:
            rng = generator(self.seed, "practice", who, turn)
            lives = [replace(self.family.life(rng), at=self.plan.length * (n % 2)) for n in range(count)]
            lived = self._lived(who, lives, models, rng)
            found = Transitions.of(lived, lives, self.plan.length, **self._tasks)
            if kept is not None:
                storage.write(kept, {"what": "lives"}, {name: getattr(found, name) for name in names})
            self.told(f"{who}: {count} lives, return {float(lived.rewards.sum(1).mean()):.0f}")
        self.lived = found if self.lived is None else self.lived + found

    @property
    def _tasks(self) -> dict[str, Any]:
        return {"shots": self.plan.shots, "queries": self.plan.queries}

    def _lived(self, who: str, lives: list[Life], models: dict[str, Dynamics], rng: torch.Generator) -> Lived:
        body, plan = self.family.body, self.plan
        if who == "shaken":
            return live(self.family, lives, Shaking(len(lives), len(body.joints), rng))
        if who == "simulated":
            from kshot.control.simulated import SimulatorControl

            planner = SimulatorControl(body, plan.simulator, rng)
            return live(
                self.family, lives, planner, at_step=planner.meet, noise=2 * plan.noise, generator=rng
            )
        acting, tell = controlled(models[who], who, self.family, lives, plan.mpc, rng)
        return live(self.family, lives, acting, at_step=tell, noise=plan.noise, generator=rng)

    def _source(self, name: str) -> Transitions:
        assert self.lived is not None
        if name == "adaptive":
            return self.lived
        rows = self.plan.tasks * (self.plan.queries + sum(self.plan.shots) // len(self.plan.shots))
        return replace(self.lived, told=name == "told", mixed=True, shots=(1,), queries=rows)

    def _fit(
        self, model: Any, name: str, steps: int, label: str, seed: int, settings: Mapping[str, Any] | None = None
    ) -> Any:  # fmt: skip
        context = name == "adaptive"
        run = fit(
            model, self._source(name), folder=self.folder / f"fit-{label}-{name}" if self.folder else None,
            progress=False, steps=steps, validate_every=max(1, steps // 4), seed=seed, validation_tasks=1,
            meta_batch=self.plan.tasks if context else 1, executor="vmap" if context else "loop",
            **(settings or self.plan.settings),
        )  # fmt: skip
        # what inputs look like is no ground for a warning here: a robot that breaks leaves it, as it is meant to
        run.learner.seen = run.learner.seen.new_zeros(0)
        self.cpu += run.history[-1]["cpu_seconds"]
        self.told(f"{name}: {steps} steps, loss {run.history[-1]['loss']:.3f}")
        return run.learner

    def _fresh(self, name: str, seed: int) -> Dynamics | Anchored:
        source = self._source(name)
        scales, outputs = source.scales(), self.family.body.observations
        with drawing(torch.device("cpu"), seed, "weights"):
            encoder = mlp(
                len(scales["mean"]),
                self.plan.hidden,
                activation="silu",
                mean=scales["mean"],
                std=scales["std"],
            )
            if name == "told":
                return Anchored(encoder, outputs, source.parameters.shape[1], scales["scale"])
            return Dynamics(encoder, outputs, 0, scales["scale"])


def controlled(
    model: Dynamics, name: str, family: Robots, lives: list[Life], mpc: MPC, rng: torch.Generator,
    window: int = 32,
) -> tuple[Acting, Callable[[int, list[Any]], None]]:  # fmt: skip
    """A controller of these lives, and what is to be called before each step: it tells a "told" model the truth."""
    joints = len(family.body.joints)
    told = name == "told"
    targets = [life.target for life in lives if life.target is not None]
    acting = Controller(
        model, family.body, mpc, robots=len(lives), generator=rng, window=window,
        known=torch.stack([Fault().numbers(joints)] * len(lives)) if told else None,
        target=torch.tensor(targets) if len(targets) == len(lives) else None,
    )  # fmt: skip

    def tell(step: int, envs: list[Any]) -> None:
        if told:
            faults = [life.fault if step >= life.at else Fault() for life in lives]
            acting.known = torch.stack([fault.numbers(joints) for fault in faults])

    return acting, tell


def play_robots(model: Dynamics, tasks: Sequence[InteractiveTask], rng: torch.Generator) -> list[float]:
    """The return of each robot under control by a model that adapts at every step: see `Dynamics.play_many`."""
    strange = [task for task in tasks if not isinstance(task, RobotTask) or task.family != _family(tasks)]
    if strange:
        raise UnsupportedError(
            f"task {strange[0].name!r} is no robot, or not of the same family as the first; this model controls robots: "
            "evaluate it on kshot.control.Robots, or on Transitions for its predictions"
        )
    family, lives = _family(tasks), [task.life for task in tasks if isinstance(task, RobotTask)]
    if model.outputs != family.body.observations:
        raise UnsupportedError(
            f"this model predicts {model.outputs} numbers, {family.robot} has {family.body.observations} in an "
            "observation; use a model that was trained on this robot"
        )
    acting, _ = controlled(model, "adaptive", family, lives, MPC(), rng)
    return [float(total) for total in live(family, lives, acting).rewards.sum(1)]


def _family(tasks: Sequence[InteractiveTask]) -> Robots:
    first = tasks[0]
    return first.family if isinstance(first, RobotTask) else Robots()
