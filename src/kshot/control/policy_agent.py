"""An agent for one task of a world, with the methods that users of stable-baselines3 expect: learn, predict, save, load.

It learns about the task while it acts: `adapt` after every step, `reset_task` before another task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.bundles import load_learned
from kshot.control.arm_policy import ArmPolicy, arm_policy
from kshot.control.bandits import Bandits
from kshot.control.checked_steps import checked_reset, checked_step
from kshot.control.gradient_policy import GradientPolicy
from kshot.control.recurrent import RecurrentPolicy, recurrent_policy
from kshot.control.worlds import World, as_action, one_hot, step_input
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, Learner, save_learner
from kshot.seeds import drawing, generator
from kshot.tasks import Examples
from kshot.tasks.spaces.numbers import Gaussian
from kshot.training.fit import fit

LEARNERS = (ArmPolicy, RecurrentPolicy, GradientPolicy)


class PolicyAgent:
    """Acts in one task of a world, and remembers its steps.

    Args:
        world: what it acts in. learner: a trained policy for it; None: call `learn` first. seed: decides everything random.

    >>> from kshot.control import Bandits
    >>> agent = PolicyAgent(Bandits(arms=3, pulls=5)).learn(total_timesteps=160)
    >>> action, _ = agent.predict(np.ones(1))
    >>> agent.adapt(np.ones((1, 1)), [action], [1.0]).task().ids
    ('e0',)
    """

    def __init__(self, world: World, learner: Learner | None = None, *, seed: int = 0) -> None:
        self.world, self.seed = world, seed
        self.rng = generator(seed, "agent")
        self.learner: Learner | None = None
        self.examples: Examples | None = None
        self.adapted: Adapted | None = None
        if learner is not None:
            self._take(learner)

    def learn(self, total_timesteps: int, *, folder: Path | None = None, **settings: Any) -> PolicyAgent:
        """Practise on tasks of the world for about so many steps in it, and forget the task; resumes from `folder`.

        Args:
            settings: of `kshot.Settings`; by default 32 tasks at once.

        Raises:
            SettingError: too few steps for a single update.
        """
        at_once = int(settings.setdefault("meta_batch", 32))
        updates = total_timesteps // (self.world.horizon * at_once)
        if updates < 1:
            least = self.world.horizon * at_once
            raise SettingError(
                f"total_timesteps is {total_timesteps}; one update takes {least}: {at_once} episodes"
            )
        chosen = {
            "rate": 3e-3,
            "clip": 1.0,
            "progress": False,
            "seed": self.seed,
            "folder": folder,
            **settings,
        }
        start = self._fresh() if self.learner is None else self.learner
        self._take(fit(start, self.world, steps=updates, **chosen).learner)
        return self

    def predict(
        self, observation: Any, state: None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, None]:
        """The action for an observation [observations], and None, since what is remembered is the agent's own.

        Args:
            state, episode_start: not used. deterministic: the likeliest action; else one is drawn.

        Raises:
            DataError: an observation of another shape, or NaN in it. UnsupportedError: it was never trained.
        """
        learner, seen = self._trained(), self._seen([observation])
        with torch.no_grad():
            outputs = learner.respond(self._state(), self._asked(seen), self.world.answers)
        action = self._chosen(outputs, deterministic)
        return (action.item() if action.ndim == 0 else action), None

    def adapt(self, observations: Any, actions: Any, rewards: Any) -> PolicyAgent:
        """Remember steps of the task: what was seen [n, observations], done [n, ...], and earned [n].

        Raises:
            DataError: they are of unequal length, of another shape, NaN, or no actions of the world.
        """
        seen = self._seen(observations)
        acts = [as_action(action, self.world.actions) for action in actions]
        paid = torch.as_tensor(
            np.asarray(rewards, dtype=np.float64), dtype=torch.get_default_dtype()
        ).reshape(-1)
        if not len(seen) == len(acts) == len(paid):
            raise DataError(
                f"{len(seen)} observations, {len(acts)} actions and {len(paid)} rewards; give as many"
            )
        if not bool(torch.isfinite(paid).all()):
            raise DataError(f"rewards are {paid.tolist()[:5]}; a reward is a finite number")
        steps = self._examples(seen, torch.cat(acts), paid)
        self.examples = steps if self.examples is None else self.examples + steps
        self.adapted = None
        return self

    def reset_task(self) -> None:
        """Forget the task: the next steps are of another one."""
        self.examples = self.adapted = None

    def task(self) -> Adapted:
        """What is known of the task now, as an adapted task: its examples are the steps.

        Raises:
            UnsupportedError: nothing was learned yet.
        """
        if self.examples is None:
            raise UnsupportedError(
                f"{0} steps were given; act, and call adapt(observations, actions, rewards)"
            )
        if self.adapted is None:
            self.adapted = self._trained().adapt(self.examples, space=self.world.answers)
        return self.adapted

    def save(self, path: str | Path) -> Path:
        """Write the policy; what was learned about one task is not kept: `task().save` does that."""
        return save_learner(self._trained(), path)

    @classmethod
    def load(cls, path: str | Path, world: World, *, seed: int = 0) -> PolicyAgent:
        """An agent with a saved policy.

        Raises:
            BundleError: no such file, or it holds no policy. UnsupportedError: a policy for another world.
        """
        found = load_learned(path)
        if not isinstance(found, LEARNERS):
            raise BundleError(f"{path} holds a {type(found).__name__}; an agent needs a policy")
        return cls(world, found, seed=seed)

    def _take(self, learner: Learner) -> None:
        if not isinstance(learner, LEARNERS):
            able = ", ".join(kind.__name__ for kind in LEARNERS)
            raise UnsupportedError(f"{type(learner).__name__} is no policy; an agent acts by one of {able}")
        task = self.world.sample(generator(self.seed, "first"))
        learner.play_many([task], generator(self.seed, "first"))  # it says what does not fit
        self.learner = learner
        self.reset_task()

    def _fresh(self) -> Learner:
        with drawing(torch.device("cpu"), self.seed, "weights"):
            return arm_policy(self.world) if isinstance(self.world, Bandits) else recurrent_policy(self.world)

    def _trained(self) -> Learner:
        if self.learner is None:
            raise UnsupportedError(
                f"the learner is {self.learner}; call learn(total_timesteps), or load a policy"
            )
        return self.learner

    def _seen(self, observations: Any) -> Tensor:
        try:
            found = torch.as_tensor(np.asarray(observations), dtype=torch.get_default_dtype())
        except (TypeError, ValueError) as cause:
            raise DataError(f"observations cannot be read as numbers ({cause})") from None
        wanted = self.world.observations
        if found.ndim != 2 or found.shape[1] != wanted or not bool(torch.isfinite(found).all()):
            raise DataError(
                f"an observation has shape {tuple(found.shape[1:])}, or NaN; {self.world.name} shows {wanted} finite numbers"
            )
        return found

    def _examples(self, seen: Tensor, acts: Tensor, paid: Tensor) -> Examples:
        if self.world.answers != self.world.actions:
            return Examples(torch.cat([seen, one_hot(acts, self.world.actions)], 1), paid[:, None])
        first = 0 if self.examples is None else len(self.examples)
        rows = [step_input(first + k, paid[k : k + 1], seen[k : k + 1]) for k in range(len(seen))]
        return Examples(torch.cat(rows), acts)

    def _state(self) -> Any:
        """What the learner computed from the steps so far; from none of them too, which no adapted task can be."""
        if self.examples is not None:
            return self.task().state
        world, real = self.world, self.world.actions.continuous
        valued = world.answers != world.actions
        width = world.observations + (world.actions.count if valued else 2)
        targets = torch.zeros(0, 1 if valued else world.actions.count)
        empty = Examples(
            torch.zeros(0, width), targets if valued or real else torch.zeros(0, dtype=torch.long)
        )
        return self._trained().solve(empty, world.answers)

    def _asked(self, seen: Tensor) -> Tensor:
        """Inputs to be answered: the observation, or for worth each arm at it."""
        if self.world.answers != self.world.actions:
            count = self.world.actions.count
            return torch.cat([seen.expand(count, -1), torch.eye(count)], 1)
        return step_input(0, torch.zeros(len(seen)), seen)

    def _chosen(self, outputs: Any, deterministic: bool) -> np.ndarray:
        if isinstance(outputs, Gaussian):
            space, spread = self.world.actions, outputs.variance.sqrt()
            drawn = outputs.mean if deterministic else torch.normal(outputs.mean, spread, generator=self.rng)
            return np.asarray(drawn[0].clamp(space.low, space.high).numpy())
        scores = outputs.reshape(-1)
        if deterministic:
            return np.asarray(int(scores.argmax()))
        return np.asarray(int(torch.multinomial(scores.softmax(0), 1, generator=self.rng)))


def act(
    env: Any, agent: PolicyAgent, episodes: int = 1, *, deterministic: bool = True, seed: int | None = None
) -> np.ndarray:
    """Act in one task of a gymnasium environment and learn about it from step to step; the return of each episode.

    The agent is told to forget the last task first. An environment of `gymnasium_env` keeps its task over the episodes.

    Raises:
        DataError: a step or reset that is none of gymnasium's, or a reward that is no finite number.

    >>> from kshot.control import Bandits, arm_policy, gymnasium_env
    >>> bandits = Bandits(arms=3, pulls=5)
    >>> act(gymnasium_env(bandits), PolicyAgent(bandits, arm_policy(bandits)), seed=0).shape
    (1,)
    """
    agent.reset_task()
    found: list[float] = []
    keeps = hasattr(env, "keep_task") and getattr(env, "fixed", None) is None
    for episode in range(episodes):
        seen, total, over, place = checked_reset(env, seed if episode == 0 else None), 0.0, False, 0
        if keeps:
            env.keep_task()
        while not over:
            action, _ = agent.predict(seen, deterministic=deterministic)
            after, reward, over = checked_step(env, action, place)
            agent.adapt([seen], [action], [reward])
            seen, total, place = after, total + reward, place + 1
        found.append(total)
    if keeps:
        env.new_task()
    return np.array(found)
