"""Checks that adapting returns a value: the learner stays as it is, threads never meet, examples are the truth."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from kshot.errors import UnsupportedError
from kshot.learners import Adapted, Learner
from kshot.seeds import generator
from kshot.tasks import Examples, Task, TaskSource
from kshot.tasks.spaces import Classes, Pieces
from kshot.testing.claims import claim, near, refuses, same
from kshot.testing.located import check_located_evidence, labelled


def draw(source: TaskSource, count: int = 1, name: str = "check") -> list[tuple[Task, Examples, Examples]]:
    """`count` tasks of `source`, each with its support and its query."""
    rng = generator(0, name)
    out = []
    for _ in range(count):
        task = source.sample(rng)
        support = task.collect(None, rng)
        claim(task.query is not None, f"task {task.name!r} has no query; these checks need one")
        out.append((task, support, task.query or support))
    return out


def adapted(learner: Learner, task: Task, support: Examples, **more: Any) -> Adapted:
    """Adapt; the classes are those of the examples, other spaces are the task's."""
    return learner.adapt(support, space=None if isinstance(task.space, Classes) else task.space, **more)


def answers(task: Adapted, inputs: Any) -> Any:
    """Predictions as JSON, so that those of all spaces compare alike."""
    return task.predict(inputs).to_json()


def check_learner_unchanged(learner: Learner, source: TaskSource) -> None:
    """Adapting, predicting and explaining change no weight, no mode and no global random state."""
    task, support, query = draw(source)[0]
    for training in (True, False):
        own = copy.deepcopy(learner).train(training)
        next(iter(own.encoder.children()), own.encoder).train(not training)  # a part in another mode
        before = {name: t.clone() for name, t in own.state_dict().items()}
        modes, random = [part.training for part in own.modules()], torch.get_rng_state()
        result = adapted(own, task, support)
        answers(result, query.inputs)
        claim(same(before, own.state_dict()), f"adapting changed a weight or buffer (training={training})")
        claim(
            modes == [part.training for part in own.modules()],
            f"adapting changed the mode of a part of the learner (training={training})",
        )
        claim(
            torch.equal(random, torch.get_rng_state()),
            "adapting drew from torch's global random state; make a generator with kshot.seeds",
        )
        leaves = [leaf for leaf in tree.tree_leaves(result.state) if isinstance(leaf, Tensor)]
        claim(
            all(leaf.grad_fn is None for leaf in leaves),
            "the adapted state drags an autograd graph along; it must be plain tensors",
        )


def check_threads(learner: Learner, source: TaskSource, *, rounds: int = 5) -> None:
    """Tasks adapted in threads give the same bytes as one after the other, also while in training mode. On a GPU, where
    sums over many places have no order, answers as near as that comes."""
    own = copy.deepcopy(learner).train()
    exact = all(p.device.type == "cpu" for p in own.parameters())
    jobs = draw(source, 2, "threads")

    def run(job: tuple[Task, Examples, Examples]) -> tuple[Any, Any]:
        task, support, query = job
        result = adapted(own, task, support)
        return result.state, answers(result, query.inputs)

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            together = list(pool.map(run, jobs))
            first, again = ([answer for _, answer in runs] for runs in (alone, together))
            claim(
                same(alone, together) if exact else near(first, again, 1e-4),
                f"round {number}: two threads gave other bytes than one after the other",
            )


def check_add(learner: Learner, source: TaskSource) -> None:
    """Adding examples in any order equals adapting afresh (1e-6 in float64)."""
    own = copy.deepcopy(learner).double().eval()
    task, support, query = draw(source, name="add")[0]
    whole = answers(adapted(own, task, support), query.inputs)
    first = _first(task, support)
    rest = [place for place in range(len(support)) if place not in first]
    for number in range(2):
        order = torch.randperm(len(rest), generator=generator(number, "order")).tolist()
        grown = adapted(own, task, support.take(first))
        for part in (order[: len(order) // 2], order[len(order) // 2 :]):
            if part:
                more = support.take([rest[i] for i in part])
                grown = grown.add(more.inputs, more.targets)
        claim(
            near(whole, answers(grown, query.inputs), 1e-6),
            f"adding the examples in order {order} does not equal adapting to all of them afresh",
        )


def check_remove(learner: Learner, source: TaskSource) -> None:
    """Removing examples equals never having seen them, restoring them undoes it, forgetting keeps nothing aside,
    and the old value still answers as before. A learner that declares `removes = False` must refuse instead."""
    own = copy.deepcopy(learner).double().eval()
    task, support, query = draw(source, name="remove")[0]
    ids = [f"x{place}" for place in range(len(support))]
    full = adapted(own, task, support, ids=ids)
    if not own.removes:
        for name in ("remove", "forget"):
            refuses(partial(getattr(full, name), ids[:1]), type(own).__name__, name, UnsupportedError)
        return
    before = answers(full, query.inputs)
    keep = sorted({*_first(task, support), *range(0, len(support), 2)})
    left = full.remove([name for place, name in enumerate(ids) if place not in keep])
    never = adapted(own, task, support.take(keep))
    claim(left.ids == tuple(ids[place] for place in keep), f"after remove the ids are {left.ids}")
    claim(
        near(answers(left, query.inputs), answers(never, query.inputs), 1e-6),
        "removing examples does not equal never having seen them",
    )
    gone = full.forget([name for place, name in enumerate(ids) if place not in keep])
    claim(gone.removed is None, "forget keeps the examples aside; nothing of them may be left")
    claim(
        near(answers(gone, query.inputs), answers(never, query.inputs), 1e-6),
        "forgetting examples does not equal never having seen them",
    )
    claim(
        near(answers(left.restore(), query.inputs), before, 1e-6),
        "restoring all removed examples does not give the answers from before they were removed",
    )
    claim(before == answers(full, query.inputs), "remove changed the value it was called on")


def check_evidence(learner: Learner, source: TaskSource) -> None:
    """Each contribution equals the difference that really adapting without the example makes."""
    own = copy.deepcopy(learner).double().eval()
    task, support, query = draw(source, name="evidence")[0]
    if isinstance(task.space, Pieces) and own.removes:
        check_located_evidence(own, task, support, query)
    if not isinstance(task.space, Classes) or not own.removes:
        return
    full = adapted(own, task, support)
    told = full.explain(query.take([0]).inputs)
    claim(
        len(told.evidence) == len(support),
        f"{len(told.evidence)} pieces of evidence, {len(support)} examples",
    )
    for item in told.evidence[:2]:
        keep = [place for place, name in enumerate(full.ids) if name != item.id]
        if len(set(map(str, support.take(keep).targets))) < 2:
            continue  # one class alone cannot be adapted to
        without = adapted(own, task, support.take(keep)).predict(query.take([0]).inputs)
        left = dict(zip(without.classes, without.probabilities[0].tolist(), strict=True)).get(told.label, 0.0)
        claim(
            abs(told.probability - left - item.contribution) <= 1e-6,
            f"the contribution of {item.id} is told as {item.contribution:.6g}; "
            f"really adapting without it makes {told.probability - left:.6g}",
        )


def _first(task: Task, support: Examples) -> list[int]:
    """Places of the fewest examples that can be adapted to."""
    if isinstance(task.space, Pieces):
        return labelled(support)[:1]
    if not isinstance(task.space, Classes):
        return [0]
    labels = task.space.encode(support.targets).tolist()
    return [0, next(place for place, label in enumerate(labels) if label != labels[0])]
