"""Guessing labels: only the surest of each class, and of no class what fits none."""

from __future__ import annotations

import torch

import kshot
from kshot.learners import ProtoNet
from kshot.trust.guessed_labels import Labelled, soft, spreading, surest

X = torch.tensor([[0.0], [0.4], [4.0], [4.3]])
MORE = torch.tensor([[0.1], [0.2], [4.1], [90.0]])


def labelled() -> Labelled:
    return Labelled.of(ProtoNet(kshot.encoders.identity(1)).adapt(X, ["a", "a", "b", "b"]))


def test_the_surest_of_each_class_in_their_order() -> None:
    belongs = torch.tensor([[0.2, 0.0], [0.9, 0.1], [0.3, 0.4], [0.0, 0.0], [0.5, 0.1]])
    places, classes = surest(belongs, 2)
    assert (places.tolist(), classes.tolist()) == ([1, 2, 4], [0, 1, 0])


def test_both_ways_label_what_is_near_and_leave_out_what_is_far() -> None:
    known = labelled()
    for belongs in (spreading(known, MORE, 3)(known), soft(known, unlabelled=MORE)):
        places, classes = surest(belongs, 8)
        assert (places.tolist(), classes.tolist()) == ([0, 1, 2], [0, 0, 1])


def test_leaving_an_example_out_leaves_its_distances_out() -> None:
    """As spreading afresh among the others."""
    known = labelled()
    rest = known.without(1)
    found = spreading(known, MORE, 3)(rest)
    fresh = Labelled(rest.task, rest.embedded, rest.targets, torch.arange(3))
    assert torch.equal(found, spreading(fresh, MORE, 3)(fresh))
    assert rest.joined(MORE[:1], torch.tensor([0])).targets.tolist() == [0, 1, 1, 0]
