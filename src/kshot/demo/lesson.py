"""Acts 3 and 4: teach the base ten digits, ask it, let it say why, save it and check the saved file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kshot.data import Pool
from kshot.errors import BundleError
from kshot.explanation import png
from kshot.learners import Adapted, Explanation, Learner
from kshot.seeds import generator
from kshot.storage import replace_file
from kshot.tasks.spaces import ClassPrediction

SHOTS, ASKED = 5, 4


@dataclass(frozen=True)
class Lesson:
    """A task taught from `SHOTS` pictures a class, and what it answers to others.

    Attributes:
        asked, truth: pictures the task has never seen, and what they show. place: the one explained.
    """

    task: Adapted
    asked: Tensor
    truth: list[str]
    answers: ClassPrediction
    place: int
    explanation: Explanation

    @property
    def right(self) -> int:
        """How many of the asked pictures were answered right."""
        return sum(a == t for a, t in zip(self.answers.labels, self.truth, strict=True))


def teach(base: Learner, pool: Pool, seed: int) -> Lesson:
    """Adapt to five pictures of each class of `pool` and ask it four others of each."""
    rng = generator(seed, "demo", "lesson")
    known, asked = [], []
    for members in pool.members:
        order = members[torch.randperm(len(members), generator=rng)]
        known.append(order[:SHOTS])
        asked.append(order[SHOTS : SHOTS + ASKED])
    places, queries = torch.cat(known), torch.cat(asked)
    labels = [str(pool.classes[int(pool.targets[p])]) for p in places]
    ids = [f"{label}-{k % SHOTS}" for k, label in enumerate(labels)]
    task = base.adapt(pool.inputs[places], labels, ids=ids)
    answers = task.predict(pool.inputs[queries])
    truth = [str(pool.classes[int(pool.targets[p])]) for p in queries]
    place = _most_telling(answers, truth)
    asked_pictures = pool.inputs[queries]
    return Lesson(task, asked_pictures, truth, answers, place, task.explain(asked_pictures[place]))


def _most_telling(answers: ClassPrediction, truth: list[str]) -> int:
    """A right answer that was not easy: there the examples matter most."""
    best = torch.from_numpy(answers.probabilities).max(1).values
    right = torch.tensor([a == t for a, t in zip(answers.labels, truth, strict=True)])
    distance = (best - 0.7).abs() + (~right).double()
    return int(distance.argmin())


def write_pictures(lesson: Lesson, folder: Path) -> tuple[Path, Path]:
    """The pictures as PNG files: `teach/<class>/` to learn from, `ask/` to answer; returns both folders."""
    teach_, ask = folder / "teach", folder / "ask"
    for image, label, name in zip(lesson.task.inputs, lesson.task.targets, lesson.task.ids, strict=True):
        replace_file(teach_ / str(label) / f"{name}.png", png(image))
    for number, image in enumerate(lesson.asked):
        replace_file(ask / asked_name(lesson, number), png(image))
    return teach_, ask


def asked_name(lesson: Lesson, number: int) -> str:
    """File name of an asked picture; it says what is drawn, which the task does not read."""
    return f"{lesson.truth[number]}-asked-{number % ASKED}.png"


def fingerprint_of(answers: ClassPrediction) -> str:
    """SHA-256 over labels and every bit of every probability."""
    digest = hashlib.sha256("\n".join(map(str, answers.labels)).encode())
    digest.update(answers.probabilities.tobytes())
    return digest.hexdigest()


def answers_again(bundle: Path, ask: Path) -> str:
    """`fingerprint_of` the answers that a fresh process gives after loading the saved task.

    Raises:
        BundleError: the fresh process could not load or use the file.
    """
    command = [sys.executable, "-m", "kshot.demo.fresh", str(bundle), str(ask), str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BundleError(f"a fresh process could not use {bundle} ({last}); please report this as a bug")
    return done.stdout.strip().splitlines()[-1]
