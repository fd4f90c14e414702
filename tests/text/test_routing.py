"""Routes: names, actions, passing on, and changes that equal learning afresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import kshot
from kshot.demo.service_data import shipped_desk
from kshot.errors import BundleError, DataError, SettingError
from kshot.text import Route, Router, load_router, router

DESK = shipped_desk()
ROUTES = [
    Route(name, tuple(t for t, own in DESK.taught if own == name), f"answer:{name}") for name in DESK.intents
]
ASKED = [text for text, _ in DESK.asked]


@pytest.fixture(scope="module")
def gate() -> Router:
    return router(ROUTES)


def test_messages_find_their_route_and_its_action(gate: Router) -> None:
    routed = [gate.with_refused(0.001).route(text) for text, _ in DESK.taught]
    right = [one.name == own for one, (_, own) in zip(routed, DESK.taught, strict=True)]
    assert np.mean(right) > 0.95
    assert all(one.action == f"answer:{one.name}" for one in routed)
    apart = [one.nearest == own for one, (_, own) in zip(gate.route_many(ASKED), DESK.asked, strict=True)]
    assert np.mean(apart) > 3 / len(gate)


def test_the_threshold_is_what_other_tasks_say_and_ever_more_the_own_sentences(gate: Router) -> None:
    assert gate.task.left_out is not None
    assert gate.task.gauge is not None
    assert gate.task.knowledge is not None
    own = np.sort(gate.task.decode(gate.task.left_out.own()).scores)
    sureness = gate.task.gauge.sureness(gate.task.knowledge.sureness)
    for share in (0.05, 0.2):
        place = int(share * (len(own) + 1))
        wanted = (len(own) * own[place - 1] + 100 * sureness.threshold(share)) / (len(own) + 100)
        assert gate.with_refused(share).threshold == pytest.approx(wanted, abs=1e-5)
    strict = gate.with_refused(0.3)
    assert strict.threshold > gate.threshold
    routed = strict.route_many(DESK.strangers)
    passed = [one for one in routed if one.name is None]
    assert passed
    assert all(one.action == "" and one.score < one.threshold for one in passed)


def test_a_router_measures_like_its_classifier(gate: Router) -> None:
    """One score for both: what a router passes on is what its task calls least familiar."""
    asked = [*ASKED, *DESK.strangers]
    found = gate.task.predict(asked)
    assert [one.score for one in gate.route_many(asked)] == found.scores.tolist()


@pytest.mark.parametrize("encoder", ["hash:ngram", "hash:ngram?dim=4096"])
def test_a_few_sentences_pass_strangers_on(encoder: str) -> None:
    """Also of an encoder about which kshot ships nothing of its own: the most similar one's table serves."""
    single = router({"weather": "will it rain?", "music": "play a song"}, encoder).with_refused(0.2)
    assert single.route("xylophone quartz").name is None
    assert single.route("play the next song").name == "music"
    rng, lost = np.random.default_rng(0), []
    for _ in range(8):
        chosen = [ROUTES[n] for n in rng.permutation(len(ROUTES))[:5]]
        few = router([replace(one, sentences=one.sentences[:1]) for one in chosen], encoder, refused=0.1)
        assert -np.inf < few.threshold < few.with_refused(0.3).threshold
        names = [one.name for one in chosen]
        known = [t for t, own in DESK.asked if own in names]
        lost.append(
            [np.mean([one.name is None for one in few.route_many(t)]) for t in (known, DESK.strangers)]
        )
    known_lost, strangers = np.mean(lost, 0)
    assert known_lost < 0.35
    assert strangers > known_lost + 0.1


def test_routes_added_and_removed_equal_learning_afresh(gate: Router) -> None:
    grown = router(ROUTES[:10])
    for one in ROUTES[10:]:
        grown = grown.add(one.name, one.sentences, one.action)
    for ours, theirs in zip(grown.route_many(ASKED), gate.route_many(ASKED), strict=True):
        assert (ours.nearest, ours.action) == (theirs.nearest, theirs.action)
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
    fewer = gate.remove("invoice")
    assert "invoice" not in fewer.names
    assert "invoice" not in fewer.actions
    without = router([one for one in ROUTES if one.name != "invoice"])
    np.testing.assert_allclose(
        [one.score for one in fewer.route_many(ASKED)],
        [one.score for one in without.route_many(ASKED)],
        atol=1e-4,
    )
    again = gate.add("invoice", ["the bill please"]).add("invoice", ["a receipt"])
    assert len(again) == len(gate)
    assert len(set(again.task.ids)) == len(again.task)


def test_why_names_sentences_of_the_route(gate: Router) -> None:
    told = gate.why("Is the shop open on Sundays?")
    assert told.label == "opening_hours"
    assert told.exact
    assert told.evidence[0].label == "opening_hours"
    assert told.evidence[0].contribution > 0


def test_a_saved_router_comes_back(gate: Router, tmp_path: Path) -> None:
    path = gate.with_refused(0.1).save(tmp_path / "gate.kshot")
    back = load_router(path)
    assert back.refused == 0.1
    assert dict(back.actions) == dict(gate.actions)
    assert back.route_many(ASKED) == gate.with_refused(0.1).route_many(ASKED)
    again = kshot.load(path)
    assert isinstance(again, Router)
    assert again.route_many(ASKED) == back.route_many(ASKED)
    task = again.task
    with pytest.raises(BundleError, match="no router"):
        load_router(task.save(tmp_path / "task.kshot", include_base=True))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda g: router({"a": ["x"]}), DataError, "at least two"),
        (lambda g: router([ROUTES[0], ROUTES[0]]), DataError, "name of its own"),
        (lambda g: router({"a": ["x"], "b": [""]}), DataError, "visible"),
        (lambda g: router({"a": ["x"], "b": ["y"]}, refused=1.5), SettingError, "refused is 1.5"),
        (lambda g: g.add("", ["x"]), DataError, "named ''"),
        (lambda g: g.remove("nobody"), DataError, "'nobody'"),
        (lambda g: g.route(["a"]), DataError, "route_many"),
    ],
)
def test_bad_input_is_named(
    gate: Router, change: Callable[[Router], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        change(gate)


def test_a_label_with_a_newline_and_contradicting_sentences_work(gate: Router) -> None:
    odd = gate.add("two\nlines", ["Where is my order right now?", "🙂"])
    assert odd.route("🙂").nearest == "two\nlines"


def test_a_new_route_embeds_its_own_sentences_alone(gate: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seen = gate.task.learner, []

    def counting(prepared: torch.Tensor) -> object:
        seen.append(len(prepared))
        return type(learner).embed(learner, prepared)

    monkeypatch.setattr(learner, "embed", counting)
    grown = gate.add("hire", ["Do you rent out skis?", "ski hire"])
    assert sum(seen) == 2
    assert len(grown) == len(gate) + 1


def test_one_sentence_may_stand_alone() -> None:
    gate = kshot.text.router([Route("weather", "will it rain?"), Route("music", "play a song")])  # type: ignore[arg-type]
    assert gate.task.inputs == ["will it rain?", "play a song"]
