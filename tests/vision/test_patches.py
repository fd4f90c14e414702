"""Boxes named by their parts: turns are exact, order does not matter, and tuning takes to it where it names better."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot.learners.located import Located
from kshot.seeds import generator
from kshot.vision import Crops, Detector, tune
from kshot.vision.by_parts import by_parts
from kshot.vision.detection import closer, plainer, untrained
from kshot.vision.held_out import surely_more
from kshot.vision.patches import BINS, GRID, Patches, edge_planes, turned
from kshot.vision.tune import _Clock, _Run

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))

from members import SCENES

DRAWN = SCENES.using(size=48, ways=4, shots=3, queries=6, sides=(12, 18)).sample(generator(0, "tune"))


def boxes(count: int, seed: int = 0) -> Tensor:
    """Cells of random pictures, as a head sees them: [count, planes * GRID * GRID]."""
    pictures = torch.rand(count, 1, 4 * GRID, 4 * GRID, generator=generator(seed, "patches"))
    return edge_planes(pictures, 4).flatten(1)


def test_edges_are_told_by_their_direction() -> None:
    """Dark left of bright is an edge of direction 0, bright above dark one of a quarter turn back."""
    picture = torch.zeros(1, 1, 16, 16)
    picture[..., 8:] = 1
    strong = edge_planes(picture, 4)[0, :BINS].sum((1, 2))
    assert int(strong.argmax()) == 0
    assert float(strong[1:].sum()) < 1e-5
    down = edge_planes(picture.flip(3).transpose(2, 3), 4)[0, :BINS].sum((1, 2))
    assert int(down.argmax()) == BINS * 3 // 4


def test_a_turned_picture_has_turned_cells() -> None:
    picture = torch.rand(2, 3, 4 * GRID, 4 * GRID, generator=generator(0, "turned"))
    cells, quarter = edge_planes(picture, 4), edge_planes(torch.rot90(picture, 1, (2, 3)), 4)
    matched = min((turned(cells, k) - quarter).abs().max().item() for k in (2, BINS - 2))
    assert matched < 1e-5
    assert torch.equal(turned(cells, 0), cells)


def test_a_box_is_known_again_turned_moved_and_in_other_light() -> None:
    """Six things, each marked once, are told apart after a quarter turn, moved by a cell, and darker."""
    cells = boxes(6).reshape(6, -1, GRID, GRID)
    head = Patches(cells.shape[1])
    state = head.solve(cells.flatten(1), torch.arange(6), 6)
    asked = turned(cells, 2).roll(1, 3)
    asked[:, :BINS] *= 0.6
    assert head.respond(state, asked.flatten(1)).argmax(1).tolist() == list(range(6))


def test_order_does_not_matter_and_leaving_out_is_exact() -> None:
    features, targets = boxes(5), torch.tensor([0, 1, 0, 1, 1])
    head, asked = Patches(BINS + 1), boxes(3, 1)
    order = torch.tensor([3, 1, 4, 0, 2])
    one = head.respond(head.solve(features, targets, 2), asked)
    other = head.respond(head.solve(features[order], targets[order], 2), asked)
    assert torch.allclose(one, other, atol=1e-5)
    without = head.without_each(features, targets, 2)
    keep = [0, 1, 3, 4]
    again = head.respond(head.solve(features[keep], targets[keep], 2), asked)
    assert torch.equal(without.answers(asked)[:, 2], again)
    assert without.own().shape == (5, 2)


@pytest.fixture(scope="module")
def learner() -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return untrained(48, features=8, tower=8, vector=8).eval()


def test_a_closer_look_names_what_an_untrained_network_cannot(learner: Detector, tmp_path: Path) -> None:
    assert DRAWN.support is not None
    task = closer(learner).adapt(DRAWN.support)
    assert DRAWN.query is not None
    rows = task.space.encode(DRAWN.query.targets)
    items = list(task.embed(learner.encoder.read(DRAWN.query.inputs)))
    vectors = torch.cat(
        [task.learner.localiser.vectors(item, own) for item, own in zip(items, rows, strict=True)]
    )
    names = task.learner.names(task.state, vectors, task.space)[:, 1:].argmax(1)
    right = torch.cat(rows)[:, 4].long()
    known = right >= 0
    assert float((names[known] == right[known]).float().mean()) > 0.7
    loaded: Any = kshot.load(task.save(tmp_path / "closer.kshot", include_base=True))
    asked = DRAWN.query.inputs[:2]
    assert loaded.predict(asked).to_json() == task.predict(asked).to_json()
    assert plainer(closer(learner)).config() == learner.config()


def test_the_task_without_each_picture_is_as_if_solved_again(learner: Detector) -> None:
    """Also where a class is shown by one picture alone, and where other things are marked as none of them."""
    assert DRAWN.support is not None
    own = closer(learner)
    own.localiser.firmness = 3.0
    marked = [
        boxes if n else [(*box[:4], 9) for box in boxes] for n, boxes in enumerate(DRAWN.support.targets)
    ]
    named = [[box for box in boxes if box[4] is not None] for boxes in marked]
    for targets in (named, marked):
        task = own.adapt(DRAWN.support.inputs, targets)
        items, rows = list(task.embedded), task.space.encode(task.targets)
        with torch.no_grad():
            fast = own.solve_without_each(items, rows, task.space)
            slow = Located.solve_without_each(own, items, rows, task.space)
            asked = torch.cat(own.localiser.vectors_of(items, rows))
            for one, other in zip(fast, slow, strict=True):
                assert one is not None
                assert other is not None
                assert torch.equal(one["present"], other["present"])
                assert torch.allclose(one["where/sides"], other["where/sides"], atol=1e-5)
                names = [own.names(state, asked, task.space) for state in (one, other)]
                assert torch.allclose(*(each.exp() for each in names), atol=1e-4)


def test_one_class_a_picture_without_boxes_and_ten_thousand_boxes(learner: Detector) -> None:
    """Of many boxes those with the strongest edges are looked up, so that a state stays small."""
    pictures = torch.rand(2, 1, 48, 48, generator=generator(0, "pictures"))
    low = torch.rand(10_000, 2, generator=generator(0, "boxes")) * 40
    many = [(float(x), float(y), float(x) + 6, float(y) + 6, "a") for x, y in low]
    task = closer(learner).adapt(pictures, [many, []])
    assert len(task.state["head/owner"]) == 64
    assert task.space.labels == ("a",)
    assert len(task.predict(pictures)) == 2


def test_what_is_marked_as_none_of_them_is_refused_by_its_parts(learner: Detector) -> None:
    picture = torch.zeros(1, 48, 48)
    picture[:, 4:20, 4:16], picture[:, 8:12, 8:12] = 1.0, 0.0
    picture[:, 26:42, 26:42] = torch.rand(1, 16, 16, generator=generator(0, "none"))
    boxes = [(4.0, 4.0, 16.0, 20.0, "frame"), (26.0, 26.0, 42.0, 42.0, None)]
    task = closer(learner).adapt([picture], [boxes])
    row = task.space.encode([boxes])[0]
    found = task.learner.names(task.state, task.learner.localiser.vectors(task.embedded[0], row), task.space)
    assert found.argmax(1).tolist() == [1, 0]


def test_tuning_takes_to_parts_where_they_name_better(learner: Detector) -> None:
    """Two steps teach a network no characters; their parts are enough."""
    assert DRAWN.support is not None
    task = learner.adapt(DRAWN.support)
    found = by_parts(learner, task.inputs, task.space.encode(task.targets))
    assert found is not None
    assert float(found.hits(range(len(task))).float().mean()) > 0.6
    run = _Run(task, Crops(48), 2, 1e-3, 0)
    run.descend(range(len(task)), _Clock(run.begin, 1.0, 2, None), 1.0)
    run.judged(list(range(0, len(task), 2)))
    assert run.parts is not None
    done = run.task()
    assert isinstance(done.learner, Detector)
    assert isinstance(done.learner.head, Patches)
    assert DRAWN.query is not None
    assert len(done.explain(DRAWN.query.inputs[:1]).evidence) == len(task)
    again = tune(done, steps=1, batch=1, trial=False, crops=Crops(48)).task
    assert isinstance(again.learner, Detector)
    assert not isinstance(again.learner.head, Patches)


def test_a_better_way_to_name_is_better_by_more_than_chance() -> None:
    good, bad = torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    one = bad.clone()
    one[0] = True
    assert surely_more(good, bad)
    assert not surely_more(good, good)
    assert not surely_more(one, bad)
