"""Checks of what a learner answers: other ways and shots, no company, no leak, it learns, it refuses, it is saved."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kshot.bundles as bundles
from kshot.errors import BundleError
from kshot.learners import Learner, save_learner
from kshot.seeds import generator
from kshot.tasks import Examples, Task, TaskSource
from kshot.tasks.examples import join
from kshot.tasks.spaces import Classes
from kshot.testing.claims import claim, near, refuses
from kshot.testing.values import adapted, answers, draw


def check_other_way_and_shot(learner: Learner, source: TaskSource) -> None:
    """Tasks with twice the classes, or two, and one shot or twice the shots are answered too."""
    (one, first, query), (_, second, _) = draw(source, 2, "ways")
    if not isinstance(one.space, Classes):
        fewer = first.take(range(max(1, len(first) // 2)))
        for support in (fewer, first + second):
            given = adapted(learner, one, support).predict(query.inputs)
            claim(
                len(given) == len(query),
                f"{len(query)} inputs got {len(given)} answers from {len(support)} shots",
            )
        return
    labels = one.space.encode(first.targets).tolist()
    names = [f"a{label}" for label in labels]
    others = [f"b{label}" for label in labels]
    more = Examples(join(first.inputs, second.inputs), [*names, *others[: len(second)]])
    single = [labels.index(label) for label in sorted(set(labels))]
    pair = [place for place in single if labels[place] in sorted(set(labels))[:2]]
    named = Examples(first.inputs, names)
    for support in (more, named.take(single), named.take(pair), named + named):
        given = learner.adapt(support).predict(query.inputs)
        ways = set(support.targets)
        claim(set(given.classes) == ways, f"{len(ways)} classes were given, the answer knows {given.classes}")
        shape = given.probabilities.shape
        claim(
            shape == (len(query), len(ways)),
            f"probabilities of {len(query)} queries in {len(ways)} ways have shape {shape}; one column per class",
        )
        sums = given.probabilities.sum(1)
        claim(
            bool((abs(sums - 1) < 1e-5).all()),
            f"with {len(ways)} ways and {len(support)} examples probabilities sum to {sums.tolist()[:3]}, not 1",
        )


def check_queries_apart(learner: Learner, source: TaskSource) -> None:
    """An inductive learner answers each query as if it were alone."""
    if learner.regime != "inductive":
        return
    own = copy.deepcopy(learner).double().eval()
    task, support, query = draw(source, name="apart")[0]
    result = adapted(own, task, support)
    together = answers(result, query.inputs)
    alone = [answers(result, query.take([place]).inputs)[0] for place in range(len(query))]
    wrong = [place for place in range(len(query)) if not near(together[place], alone[place], 1e-9)]
    claim(
        not wrong,
        f"the answers to queries {wrong[:5]} depend on the other queries; the regime 'inductive' forbids that: "
        "set regime = 'transductive', or take statistics from the support alone",
    )


def check_no_leak(learner: Learner, source: TaskSource) -> None:
    """Outputs do not depend on query labels; an untrained or trained learner is near chance on shuffled ones."""
    own = copy.deepcopy(learner).eval()
    hits, chance, variance, rng = 0.0, 0.0, 0.0, generator(0, "leak")
    for task, support, query in draw(source, 12, "leak"):
        order = torch.randperm(len(query), generator=rng).tolist()
        shuffled = Examples(query.inputs, query.take(order).targets)
        ready = [own.prepare(Task(task.space, support, q)) for q in (query, shuffled)]
        with torch.no_grad():
            (outputs, _), (again, targets) = own.answer(ready[0]), own.answer(ready[1])
        ours, theirs = task.space.decode(outputs).to_json(), task.space.decode(again).to_json()
        claim(
            near(ours, theirs, 1e-6), "outputs changed with the query's labels; the labels leak into answers"
        )
        if isinstance(task.space, Classes):
            hits += task.space.metrics(again, targets)["accuracy"] * len(query)
            chance += len(query) / task.space.size
            variance += len(query) * (1 / task.space.size) * (1 - 1 / task.space.size)
    claim(
        abs(hits - chance) <= 5 * math.sqrt(variance),
        f"{hits:.0f} shuffled labels were hit where chance hits {chance:.1f}; query labels leak",
    )


def check_learns(learner: Learner, source: TaskSource, *, steps: int = 30) -> None:
    """The loss is a finite scalar and falls when one task is trained on again and again."""
    own = copy.deepcopy(learner).train()
    weights = [p for p in own.parameters() if p.requires_grad]
    claim(bool(weights), "the learner has no trainable number, so it cannot be meta-trained")
    task = own.prepare(source.sample(generator(0, "learns")))
    optimizer = torch.optim.Adam(weights, lr=0.01)
    losses: list[float] = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = own.loss(task)
        claim(
            loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss is {loss}; it must be one finite number"
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    fell = sum(losses[-3:]) / 3 < losses[0]
    claim(
        fell,
        f"the loss of one task went from {losses[0]:.4g} to {losses[-1]:.4g} in {steps} steps; it must fall",
    )


def check_config(learner: Learner, source: TaskSource) -> None:
    """`config()` is JSON, and the constructor takes it back."""
    config = learner.config()
    again = json.loads(json.dumps(config))
    copied = type(learner)(copy.deepcopy(learner.encoder), **again)
    claim(
        json.dumps(copied.config(), sort_keys=True) == json.dumps(config, sort_keys=True),
        f"config() is {config}; a learner made from it says {copied.config()}",
    )
    theirs, ours = set(copied.state_dict()), set(learner.state_dict())
    claim(theirs == ours, f"a learner made from config() differs in {sorted(theirs ^ ours)[:3]}")


def check_saving(learner: Learner, source: TaskSource) -> None:
    """A saved learner, and a saved task with or without its base, predict the same bits, in either number
    type (the fingerprint, which loading compares, holds the type of every weight). What a GPU saved is loaded to a
    processor, where the last digits are others."""
    for kind in (torch.float32, torch.float64):
        _check_saving(copy.deepcopy(learner).to(kind).eval(), source)


def _check_saving(own: Learner, source: TaskSource) -> None:
    task, support, query = draw(source, name="save")[0]
    before = adapted(own, task, support, ids=[f"x{place}" for place in range(len(support))])
    told = answers(before, query.inputs)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = _loaded(save_learner(own, place / "base.kshot"))
        claim(isinstance(base, Learner), f"a saved learner loads as a {type(base).__name__}")
        claim(
            _alike(own, told, answers(adapted(base, task, support), query.inputs)),
            "the loaded learner predicts other bits than the saved one",
        )
        for name, more in (("beside", {}), ("inside", {"include_base": True})):
            found = _loaded(before.save(place / f"{name}.kshot", **more))
            claim(found.ids == before.ids, f"the loaded task has ids {found.ids}, the saved one {before.ids}")
            claim(
                _alike(own, told, answers(found, query.inputs)),
                f"a task with its base {name} it loads with other bits",
            )


def _alike(own: Learner, told: Any, given: Any) -> bool:
    """The same bits; as near as two devices come where `own` is on another than what was loaded."""
    weight = next(own.parameters())
    tolerance = 1e-2 if weight.dtype == torch.float32 else 1e-6
    return bool(told == given) or (weight.device.type != "cpu" and near(told, given, tolerance))


def _loaded(path: Path) -> Any:
    try:
        return bundles.load(path)
    except BundleError as error:
        raise AssertionError(f"what was saved does not load: {error}") from error


def check_refusals(learner: Learner, source: TaskSource) -> None:
    """Bad examples raise a UserError that names the value."""
    task, support, _ = draw(source, name="refuse")[0]
    count = len(support)
    short = support.take(range(count - 1)).targets
    refuses(
        lambda: learner.adapt(support.inputs, short),
        str(count - 1),
        f"{count} inputs with {count - 1} targets",
    )
    if isinstance(support.inputs, Tensor):
        nothing = (support.inputs[:0], support.targets[:0])
        refuses(lambda: learner.adapt(*nothing, space=task.space), "0 examples", "no example at all")
    if isinstance(support.inputs, Tensor) and support.inputs.is_floating_point():
        holes = support.inputs.clone()
        holes[0] = float("nan")
        refuses(lambda: learner.adapt(holes, support.targets, space=task.space), "NaN", "an input of NaN")
    twice = ["same"] * count
    if count > 1:
        refuses(lambda: adapted(learner, task, support, ids=twice), "'same'", "one id for all examples")
    result = adapted(learner, task, support)
    refuses(lambda: result.remove(["nobody"]), "'nobody'", "removing an unknown id")
    refuses(lambda: result.remove(list(result.ids)), str(count), "removing all examples")
    if isinstance(task.space, Classes):
        refuses(lambda: learner.adapt(support.inputs, ["only"] * count), "'only'", "one class alone")
        strange = [*list(support.targets)[: count - 1], "stranger"]
        refuses(
            lambda: learner.adapt(support.inputs, strange, space=task.space),
            "stranger",
            "a label of no class",
        )
