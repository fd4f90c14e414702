"""Training for control: live, learn, control by what was learned, and learn from that too.

A model that saw random actions only is wrong about where a good plan leads, so what it leads to is added, round by
round: Ross et al. (2011), "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning"
(DAgger). The first lives are partly those of a planner in the simulator itself, which shows fast gaits. And at many
steps what was about to be tried is rehearsed in the simulator (see `kshot.control.simulated.Rehearsal`): models learn
from the plans, too, not only from what was done in the end.
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
        rehearsed: plans that are carried out in the simulator at a step of a robot, and the share of steps at which
            they are; 0: none. others: the share of these under another fault of the family than the robot's own.
        settings: of `kshot.fit`.

    Raises:
        SettingError: nothing to begin with.
    """

    simulated: int = 24
    shaken: int = 30
    rounds: int = 4
    lives: int = 8
    length: int = 100
    first: int = 900
    steps: int = 300
    last: int = 1600
    adapting: float = 0.2
    hidden: tuple[int, ...] = (160, 160, 160)
    shots: tuple[int, ...] = (4, 8, 16, 32)
    queries: int = 32
    tasks: int = 64
    mpc: MPC = MPC(horizon=12)  # noqa: RUF009
    simulator: MPC = MPC(plans=48, horizon=12)  # noqa: RUF009
    noise: float = 0.1
    rehearsed: tuple[int, float] = (4, 0.6)
    others: float = 0.7
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
        self.rehearsed: Transitions | None = None
        self.bases: dict[str, Dynamics | Anchored] = {}
        self.cpu = 0.0

    def run(self) -> dict[str, Dynamics]:
        """Practise; returns the models by name."""
        self.gather()
        return self.anew(self.seed)

    def gather(self) -> Transitions:
        """Live and learn in turns; returns what was lived through."""
        plan = self.plan
        self.lived = self.rehearsed = None
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
        """Add `count` lives under somebody's control, and what was rehearsed in them."""
        kept = self.folder / f"lives-{turn}-{who}.safetensors" if self.folder else None
        if kept is not None and kept.exists():
            found = {name: Transitions(*parts, **self._tasks[name]) for name, parts in _read(kept).items()}
            self.told(f"{who}: {len(found['lived'])} stretches found in {kept.name}")
        else:
            rng = generator(self.seed, "practice", who, turn)
            lives = [replace(self.family.life(rng), at=self.plan.length * (n % 2)) for n in range(count)]
            lived, rehearsed = self._lived(who, lives, models, rng)
            found = {"lived": Transitions.of(lived, lives, self.plan.length, **self._tasks["lived"])}
            if rehearsed is not None:
                found["rehearsed"] = rehearsed.transitions(**self._tasks["rehearsed"])
            if kept is not None:
                _write(kept, found)
            self.told(f"{who}: {count} lives, return {float(lived.rewards.sum(1).mean()):.0f}")
        for name, more in found.items():
            before = getattr(self, name)
            setattr(self, name, more if before is None else before + more)

    @property
    def _tasks(self) -> dict[str, dict[str, Any]]:
        """How what was lived, and what was rehearsed, is cut into tasks."""
        return {"lived": {"shots": self.plan.shots, "queries": self.plan.queries},
                "rehearsed": {"shots": (1,), "queries": 1}}  # fmt: skip

    def _lived(
        self, who: str, lives: list[Life], models: dict[str, Dynamics], rng: torch.Generator
    ) -> tuple[Lived, Any]:
        body, plan = self.family.body, self.plan
        acting: Any
        noise, mpc = plan.noise, plan.mpc
        tell: Callable[[int, list[Any]], None] = _silent
        if who == "shaken":
            acting, noise = Shaking(len(lives), len(body.joints), rng), 0.0
        elif who == "simulated":
            from kshot.control.simulated import SimulatorControl

            acting, noise, mpc = SimulatorControl(body, plan.simulator, rng), 2 * plan.noise, plan.simulator
            tell = acting.meet
        else:
            acting, tell = controlled(models[who], who, self.family, lives, plan.mpc, rng)
        rehearsal = self._rehearsal(mpc, rng)

        def at_step(step: int, envs: list[Any]) -> None:
            tell(step, envs)
            if rehearsal is not None:
                idle = mpc.start(len(lives), len(body.joints))
                rehearsal.watch(envs, getattr(acting, "plan", idle))

        return live(self.family, lives, acting, at_step=at_step, noise=noise, generator=rng), rehearsal

    def _rehearsal(self, mpc: MPC, rng: torch.Generator) -> Any:
        if not self.plan.rehearsed[0]:
            return None
        from kshot.control.simulated import Rehearsal

        return Rehearsal(mpc, *self.plan.rehearsed, rng, self.family, self.plan.others)

    def _source(self, name: str) -> Transitions:
        assert self.lived is not None
        if name == "adaptive":
            return self.lived
        known = self.lived
        if self.rehearsed is not None:
            known = self.rehearsed + self.lived.cut(self.rehearsed.inputs.shape[1])
        rows = self.plan.tasks * (self.plan.queries + sum(self.plan.shots) // len(self.plan.shots))
        return replace(known, told=name == "told", mixed=True, shots=(1,), queries=rows)

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


NAMES = ("inputs", "changes", "parameters")


def _write(path: Path, found: dict[str, Transitions]) -> None:
    tensors = {f"{what}.{name}": getattr(rows, name) for what, rows in found.items() for name in NAMES}
    storage.write(path, {"what": "lives"}, tensors)


def _read(path: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    tensors = storage.read(path)[1]
    found = {}
    for what in ("lived", "rehearsed"):
        if f"{what}.inputs" in tensors:
            inputs, changes, parameters = (tensors[f"{what}.{name}"] for name in NAMES)
            found[what] = (inputs, changes, parameters)
    return found


def _silent(step: int, envs: list[Any]) -> None:
    """Nobody is told anything."""


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
