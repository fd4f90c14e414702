"""Spans, boxes, actions and densities against cases worked out by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from kshot.errors import DataError
from kshot.tasks.spaces import (
    Actions,
    Boxes,
    BoxScores,
    Density,
    Gaussian,
    OutputSpace,
    Spans,
    SpanScores,
    space_from_json,
)
from kshot.tasks.spaces.geometry import average_precision, generalised_iou, iou, keep_best, match

PEOPLE = Spans(("person", "place"))
CELLS = Boxes(("red", "white"))


def logits(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """Scores whose softmax is the given rows."""
    return torch.tensor(probabilities).log()


def spans(*rows: tuple[int, int, int, tuple[float, ...]], texts: int = 2) -> SpanScores:
    """Candidates (text, start, end, probabilities of outside, person, place)."""
    text, start, end = (torch.tensor([row[k] for row in rows]) for k in range(3))
    return SpanScores(text, start, end, logits(*(row[3] for row in rows)), texts)


def boxes(*rows: tuple[int, tuple[float, ...], tuple[float, ...]], images: int = 1) -> BoxScores:
    """Candidates (image, sides, probabilities of background, red, white)."""
    sides = torch.tensor([row[1] for row in rows])
    return BoxScores(torch.tensor([row[0] for row in rows]), sides, logits(*(row[2] for row in rows)), images)


FOUND = spans(
    (0, 0, 5, (0.1, 0.8, 0.1)),
    (0, 3, 9, (0.2, 0.1, 0.7)),  # overlaps the surer one before it
    (0, 9, 12, (0.3, 0.1, 0.6)),  # touches, does not overlap
    (1, 0, 4, (0.9, 0.05, 0.05)),
)


def test_spans_are_decoded_greedily_without_overlap() -> None:
    answer = PEOPLE.decode(FOUND)
    assert [[s[:3] for s in found] for found in answer.spans] == [[(0, 5, "person"), (9, 12, "place")], []]
    assert answer.spans[0][0].probability == pytest.approx(0.8)
    assert answer.to_json()[1] == {"spans": [], "unknown": []}


def test_a_span_inside_another_is_dropped_and_texts_do_not_meet() -> None:
    nested = spans((0, 0, 9, (0.1, 0.9, 0.0)), (0, 2, 4, (0.2, 0.8, 0.0)), (1, 2, 4, (0.3, 0.7, 0.0)))
    assert [[s[:2] for s in found] for found in PEOPLE.decode(nested).spans] == [[(0, 9)], [(2, 4)]]


def test_span_f1_needs_exact_bounds_and_the_label() -> None:
    gold = PEOPLE.encode([[(0, 5, "person"), (9, 12, "person")], [(0, 4, "place")]])
    figures = PEOPLE.metrics(FOUND, gold)
    assert figures["f1"] == pytest.approx(2 / 5)  # 1 right of 2 found and 3 to find
    assert (figures["precision"], figures["recall"]) == (0.5, pytest.approx(1 / 3))
    assert (figures["right"], figures["found"], figures["gold"]) == (1, 2, 3)


def test_span_loss_is_cross_entropy_with_outside_for_the_rest() -> None:
    gold = PEOPLE.encode([[(0, 5, "person"), (7, 8, "place")], []])  # the second is no candidate
    expected = -(math.log(0.8) + math.log(0.2) + math.log(0.3) + math.log(0.9)) / 4
    assert float(PEOPLE.loss(FOUND, gold)) == pytest.approx(expected, rel=1e-5)


def test_nothing_to_find_and_nothing_found_is_right() -> None:
    quiet = spans((0, 0, 2, (0.9, 0.1, 0.0)))
    assert PEOPLE.metrics(quiet, PEOPLE.encode([[], []]))["f1"] == 1.0


def test_iou_and_generalised_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [3.0, 0.0, 5.0, 2.0]])
    assert iou(a, b)[0].tolist() == pytest.approx([1 / 7, 1.0, 0.0])
    # hulls 9, 4 and 10; empty shares (9 - 7) / 9, 0 and (10 - 8) / 10
    assert generalised_iou(a, b)[0].tolist() == pytest.approx([1 / 7 - 2 / 9, 1.0, -0.2])


def test_average_precision_by_hand() -> None:
    # recall 1/3 at precision 1, 2/3 at 2/3, never 3/3
    assert average_precision([True, False, True], 3) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # a late right answer lifts no earlier precision; precision 1/2 then 2/3 becomes 2/3 at both recalls
    assert average_precision([False, True, True], 2) == pytest.approx(2 / 3)
    assert average_precision([], 4) == 0.0


def test_average_precision_equals_scikit_learn_on_a_monotone_curve() -> None:
    from sklearn.metrics import average_precision_score

    hits = [True, True, False, False, False]  # precision only falls, so both definitions agree
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    assert average_precision(hits, 2) == pytest.approx(average_precision_score(hits, scores))


def test_matching_takes_the_least_total_not_the_greedy_one() -> None:
    rows, columns = match(torch.tensor([[1.0, 2.0], [2.0, 9.0]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_suppression_keeps_the_best_of_each_heap() -> None:
    heap = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
    assert keep_best(heap, torch.tensor([0.6, 0.9, 0.3]), 0.5).tolist() == [1, 2]
    assert keep_best(heap[:0], torch.zeros(0), 0.5).tolist() == []


def test_boxes_are_decoded_by_label_with_suppression() -> None:
    seen = boxes(
        (0, (0.0, 0.0, 10.0, 10.0), (0.1, 0.9, 0.0)),
        (0, (0.0, 0.0, 10.0, 9.0), (0.2, 0.8, 0.0)),  # the same object again
        (1, (5.0, 5.0, 9.0, 9.0), (0.3, 0.1, 0.6)),
        (1, (0.0, 0.0, 4.0, 4.0), (0.6, 0.2, 0.2)),  # background
        images=3,
    )
    answer = CELLS.decode(seen)
    assert [[b.label for b in found] for found in answer.boxes] == [["red"], ["white"], []]
    assert answer.to_json()[1]["boxes"][0]["bottom"] == 9.0


def test_ap_counts_a_second_hit_on_one_box_as_wrong() -> None:
    gold = CELLS.encode([[(0, 0, 10, 10, "red"), (20, 20, 30, 30, "red")]])
    seen = boxes(
        (0, (0.0, 0.0, 10.0, 6.0), (0.04, 0.96, 0.0)),  # IoU .6: right
        (0, (0.0, 4.0, 10.0, 10.0), (0.08, 0.92, 0.0)),  # IoU .6 too, but that box is taken
        (0, (20.0, 20.0, 30.0, 30.0), (0.1, 0.9, 0.0)),  # right
        (0, (50.0, 50.0, 60.0, 60.0), (0.9, 0.1, 0.0)),  # wrong, last
    )
    assert CELLS.metrics(seen, gold)["ap50"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_ap_is_a_mean_over_the_labels_that_occur() -> None:
    gold = CELLS.encode([[(0, 0, 10, 10, "red"), (20, 20, 30, 30, "white")]])
    seen = boxes((0, (0.0, 0.0, 10.0, 10.0), (0.1, 0.9, 0.0)), (0, (20.0, 20.0, 30.0, 30.0), (1.0, 0.0, 0.0)))
    assert CELLS.metrics(seen, gold)["ap50"] == pytest.approx(0.5)
    assert CELLS.metrics(seen, CELLS.encode([[]]))["ap50"] == 0.0


def test_box_loss_by_hand() -> None:
    gold = CELLS.encode([[(0, 0, 4, 2, "white")]])
    seen = boxes((0, (0.0, 0.0, 2.0, 2.0), (0.2, 0.2, 0.6)), (0, (8.0, 8.0, 9.0, 9.0), (0.5, 0.25, 0.25)))
    # the first is matched: sides off by (0, 0, 2/4, 0), GIoU = IoU = 1/2; the second is background
    expected = -(math.log(0.6) + math.log(0.5)) / 2 + 0.5 / 4 + 0.5
    assert float(CELLS.loss(seen, gold)) == pytest.approx(expected, rel=1e-5)


def test_box_loss_moves_boxes_onto_gold() -> None:
    gold = CELLS.encode([[(2, 2, 8, 8, "red")], [(0, 0, 5, 5, "white")]])
    sides = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 9.0, 3.0]], requires_grad=True)
    scores = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([sides, scores], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        CELLS.loss(BoxScores(torch.tensor([0, 1]), sides, scores, 2), gold).backward()
        optimizer.step()
    seen = BoxScores(torch.tensor([0, 1]), sides.detach(), scores.detach(), 2)
    assert CELLS.metrics(seen, gold)["ap50"] == 1.0


def test_a_picture_without_candidates_or_gold_costs_nothing() -> None:
    seen = boxes((0, (0.0, 0.0, 2.0, 2.0), (0.5, 0.25, 0.25)), images=3)
    assert float(CELLS.loss(seen, CELLS.encode([[], [(0, 0, 1, 1, "red")], []]))) == pytest.approx(
        math.log(2)
    )


def test_action_choice_loss_and_agreement() -> None:
    space = Actions(3)
    outputs = logits((0.7, 0.2, 0.1), (0.1, 0.3, 0.6))
    figures = space.metrics(outputs, space.encode([0, 1]))
    assert figures["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2, rel=1e-5)
    assert figures["agreement"] == 0.5
    answer = space.decode(outputs)
    assert answer.actions.tolist() == [0, 2]
    assert answer.to_json()[0]["probabilities"] == pytest.approx([0.7, 0.2, 0.1])


def test_real_actions_are_gaussian_and_cut_to_their_limits() -> None:
    space = Actions(2, continuous=True, low=-1.0, high=1.0)
    outputs = Gaussian(torch.tensor([[0.5, 3.0]]), torch.tensor([[1.0, 4.0]]))
    taken = space.encode([[0.5, 1.0]])
    expected = 0.5 * (math.log(2 * math.pi) + math.log(2 * math.pi * 4) + 4 / 4)
    assert float(space.loss(outputs, taken)) == pytest.approx(expected, rel=1e-6)
    answer = space.decode(outputs)
    assert answer.actions.tolist() == [[0.5, 1.0]]
    assert answer.to_json() == [{"action": [0.5, 1.0], "deviation": [1.0, 2.0]}]
    assert space.metrics(outputs, taken)["mse"] == 0.0


def test_density_is_nats_per_dimension() -> None:
    space = Density(4)
    outputs = torch.tensor([-8.0, -4.0])
    assert space.metrics(outputs, space.encode([None, None]))["nats"] == 1.5
    answer = space.decode(outputs, threshold=-6.0)
    assert answer.unknown.tolist() == [True, False]
    assert answer.to_json()[1] == {"log_likelihood": -4.0, "unknown": False}


def test_density_of_a_standard_normal_is_its_entropy() -> None:
    x = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0))
    outputs = torch.distributions.Normal(0, 1).log_prob(x).sum(1)
    nats = Density(3).metrics(outputs, None)["nats"]
    assert nats == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.01)


@pytest.mark.parametrize(
    "space", [PEOPLE, CELLS, Actions(4), Actions(2, True, -1.0, 1.0), Density(3)], ids=lambda s: s.kind
)
def test_spaces_survive_json(space: OutputSpace) -> None:
    assert space_from_json(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize(
    ("space", "targets", "named"),
    [
        (PEOPLE, [[(4, 4, "person")]], r"\(4, 4, 'person'\)"),
        (PEOPLE, [[(0, 4, "animal")]], "animal"),
        (CELLS, [[(3, 0, 3, 5, "red")]], r"\(3, 0, 3, 5, 'red'\)"),
        (CELLS, [[(0, 0, 3, 5, "blue")]], "blue"),
        (Actions(3), [0, 3], "0 to 3"),
        (Actions(3), [0.5], "float"),
        (Actions(2, continuous=True), [[1.0]], r"\(1, 1\)"),
        (Actions(1, continuous=True), [[math.nan]], "NaN"),
    ],
)
def test_wrong_targets_are_named(space: OutputSpace, targets: list[object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        space.encode(targets)


def test_impossible_spaces_are_refused() -> None:
    with pytest.raises(DataError, match="repeat"):
        Spans(("a", "a"))
    with pytest.raises(DataError, match="count is 0"):
        Actions(0)
    with pytest.raises(DataError, match="dims is 0"):
        Density(0)
