"""Training for control: live, learn, control by what was learned, and learn from that too.

A model that saw random actions only is wrong about where a good plan leads, so what it leads to is added, round by
round: Ross et al. (2011), "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning"
(DAgger). The first lives are partly those of a planner in the simulator itself, which shows fast gaits. And at many
steps what was about to be tried is rehearsed in the simulator (see `kshot.control.simulated.Rehearsal`): models learn
from the plans, too, not only from what was done in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kshot.control.anchored import Anchored
from kshot.control.controlled import controlled
from kshot.control.dynamics import Dynamics
from kshot.control.kept_lives import read_lives, write_lives
from kshot.control.living import Lived, Shaking, live
from kshot.control.mpc import MPC
from kshot.control.practice import MODELS, Practice
from kshot.control.robots import Life, Robots
from kshot.control.transitions import Transitions
from kshot.encoders import mlp
from kshot.errors import SettingError
from kshot.seeds import drawing, generator
from kshot.training.fit import fit

ONE: dict[str, Any] = {"shots": (1,), "queries": 1}
"""How lives are cut into tasks: not at all; models read transitions one by one, and adapt in closed form."""


PART = 4
"""Stretches that are recalled in one piece."""


class Practised:
    """Models in training and what was lived through; `run` does it all. Stopped, it goes on from `folder`.

    Args:
        family: robots to practise on. plan: how. seed: decides everything.
        models: some of `MODELS`. folder: for lives, checkpoints and results; None: nothing is kept.
        start: trained models, "adaptive" and "plain", to go on from; None: networks that know nothing.
        told: called with a sentence after each piece of work. device: where models are trained.
    """

    def __init__(
        self, family: Robots, plan: Practice | None = None, *, seed: int = 0, models: tuple[str, ...] = MODELS,
        folder: Path | None = None, told: Callable[[str], None] = lambda text: None,
        start: Mapping[str, Dynamics] | None = None, device: str = "cpu",
    ) -> None:  # fmt: skip
        unknown = [name for name in models if name not in MODELS]
        if unknown or not models:
            raise SettingError(f"models is {models}; choose some of {', '.join(MODELS)}")
        if start is not None and not {"adaptive", "plain"} <= set(start):
            raise SettingError(f"start has {sorted(start)}; give the models adaptive and plain")
        self.plan, self.start = plan or Practice(), start
        self.family = replace(family, steps=2 * self.plan.length, change=None)
        self.seed, self.names, self.folder, self.told = seed, models, folder, told
        self.device = device
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
        begun = [(who, 0) for who, count in (("simulated", plan.simulated), ("shaken", plan.shaken)) if count]
        found = {(who, turn): self._live(who, getattr(plan, who), {}) for who, turn in begun}
        driven = [(name, turn) for turn in range(plan.rounds) for name in self.names]
        # models of the rounds only drive: where all that they lived through is there, none is needed
        needed = any(not self._kept(who, turn).exists() for who, turn in driven) if self.folder else True
        models: dict[str, Dynamics] = {}
        for name, turn in driven:
            if needed and name == self.names[0]:
                models = self._gone_on(f"{turn}") if turn else self._begun(plan.first, self.seed, "first")
            found[name, turn] = self._live(name, plan.lives, models, turn)
        if plan.recalled:
            parts = [
                self.recall(who, turn, part, rows)
                for (who, turn), lived in found.items()
                for part, rows in enumerate(lived.split(PART))
            ]
            self.rehearsed = Transitions.joined(parts)
        assert self.lived is not None
        return self.lived

    def recall(self, who: str, turn: int, part: int, lived: Transitions) -> Transitions:
        """What comes of plans at each step of these lives, under other faults. Lives tell all of a robot's state, so this
        needs no models, and no part of lives another: several processes can each do some."""
        kept = self.folder / f"recalled-{turn}-{who}-{part}.safetensors" if self.folder else None
        if kept is not None and kept.exists():
            return Transitions(*read_lives(kept)["rehearsed"], **ONE)
        rng = generator(self.seed, "recall", who, turn, part)
        rehearsal = self._rehearsal(self.plan.simulator if who == "simulated" else self.plan.mpc, rng)
        for _ in range(self.plan.recalled):
            rehearsal.recall(lived)
        found: Transitions = rehearsal.transitions(**ONE)
        if kept is not None:
            write_lives(kept, {"rehearsed": found})
        self.told(f"{who}: {len(found)} plans at the steps of {len(lived)} stretches")
        return found

    def _kept(self, who: str, turn: int) -> Path:
        """Where lives are kept."""
        assert self.folder is not None
        return self.folder / f"lives-{turn}-{who}.safetensors"

    def anew(self, seed: int) -> dict[str, Dynamics]:
        """Models trained from the start on everything that was lived through; `gather` comes first."""
        found = self._begun(self.plan.last, seed, f"last-{seed}")
        return {name: found[name] for name in self.names}

    def _begun(self, steps: int, seed: int, label: str) -> dict[str, Dynamics]:
        """Models trained from the start."""
        more = max(1, round(self.plan.again * steps))
        for name in ("plain", "told"):
            begun = self._fit(self._fresh(name, seed), name, steps, label, seed)
            self.bases[name] = self._fit(begun, name, more, f"{label}-more", seed)
        return self._models()

    def _gone_on(self, label: str) -> dict[str, Dynamics]:
        """Models trained further on what was added."""
        for name, base in self.bases.items():
            self.bases[name] = self._fit(base, name, self.plan.steps, label, self.seed)
        return self._models()

    def _models(self) -> dict[str, Any]:
        """By name. The adaptive one is the oracle's, not told: it was never trained to adapt, for in lives alone, without
        what was rehearsed, it would unlearn how plans end that nobody carried out."""
        plain, told = self.bases["plain"], self.bases["told"]
        assert isinstance(told, Anchored)
        return {"plain": plain, "told": told.adaptive(), "adaptive": told.adaptive()}

    def _live(self, who: str, count: int, models: dict[str, Dynamics], turn: int = 0) -> Transitions:
        """Add `count` lives under somebody's control, and what was rehearsed in them; returns what was lived."""
        kept = self._kept(who, turn) if self.folder else None
        if kept is not None and kept.exists():
            found = {name: Transitions(*parts, **ONE) for name, parts in read_lives(kept).items()}
            self.told(f"{who}: {len(found['lived'])} stretches found in {kept.name}")
        else:
            rng = generator(self.seed, "practice", who, turn)
            lives = [replace(self.family.life(rng), at=self.plan.length * (n % 2)) for n in range(count)]
            lived, rehearsed = self._lived(who, lives, models, rng)
            found = {"lived": Transitions.of(lived, lives, self.plan.length, **ONE)}
            if rehearsed is not None:
                found["rehearsed"] = rehearsed.transitions(**ONE)
            if kept is not None:
                write_lives(kept, found)
            self.told(f"{who}: {count} lives, return {float(lived.rewards.sum(1).mean()):.0f}")
        self._add(found)
        return found["lived"]

    def _add(self, found: Mapping[str, Transitions]) -> None:
        for name, more in found.items():
            before = getattr(self, name)
            setattr(self, name, more if before is None else before + more)

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
        known = self.lived
        if self.rehearsed is not None:
            known = self.rehearsed + self.lived.cut(self.rehearsed.inputs.shape[1])
        return replace(
            known,
            told=name == "told",
            mixed=True,
            shots=(1,),
            queries=self.plan.rows,
            view=self.family.body.view,
        )

    def _fit(self, model: Any, name: str, steps: int, label: str, seed: int) -> Any:
        run = fit(
            model.to(self.device), self._source(name), folder=self.folder / f"fit-{label}-{name}" if self.folder else None,
            progress=False, steps=steps, validate_every=max(1, steps // 4), seed=seed, validation_tasks=1,
            meta_batch=1, executor="loop", **self.plan.settings,
        )  # fmt: skip
        # what inputs look like is no ground for a warning here: a robot that breaks leaves it, as it is meant to
        learner = run.learner.cpu()
        learner.seen = learner.seen.new_zeros(0)
        self.cpu += run.history[-1]["cpu_seconds"]
        self.told(f"{name}: {steps} steps, loss {run.history[-1]['loss']:.3f}")
        return learner

    def _fresh(self, name: str, seed: int) -> Dynamics | Anchored:
        if self.start is not None:
            return self.start["plain"] if name == "plain" else Anchored.of(self.start["adaptive"])
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
                motors = len(self.family.body.joints)
                return Anchored(encoder, outputs, source.parameters.shape[1], scales["scale"], motors)
            return Dynamics(encoder, outputs, 0, scales["scale"])


def _silent(step: int, envs: list[Any]) -> None:
    """Nobody is told anything."""
