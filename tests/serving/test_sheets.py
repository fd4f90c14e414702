"""What is kept beside features: answers are the same with it, and it comes back after every kind of change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.heads.grouped_rows import GroupedRows
from kshot.learners import Adapted, Learner
from kshot.serving.answerer import Answerer
from kshot.serving.service import Service
from kshot.serving.store import Store

DESK = [
    ("where is my card?", "card"), ("my card did not come", "card"), ("the card is still not here", "card"),
    ("send money to Ann", "transfer"), ("pay Bob ten euros", "transfer"), ("a transfer to my sister", "transfer"),
    ("i forgot my password", "login"), ("i cannot log in", "login"), ("the login page is broken", "login"),
]  # fmt: skip
ASKED = ["has my card been sent?", "send it to Bob", "what is the weather?"]


@pytest.fixture(scope="module")
def bases() -> dict[str, Learner]:
    """Calibrated by what kshot ships, so their tasks have a measure of scores."""
    made = {name: kshot.text.classifier("hash:ngram") for name in ("desk", "other")}
    assert len(made["desk"].self_knowledge)
    return made


@pytest.fixture
def service(tmp_path: Path, bases: dict[str, Learner]) -> Any:
    made = Service(Store.at(tmp_path), bases)
    yield made
    made.close()


def posted(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"input": text, "label": label} for text, label in pairs]


def cold(service: Service, model: str) -> list[Any]:
    """Answers of a process that has nothing of the model in memory."""
    service.tasks.drop("a", model)
    found: list[Any] = service.predict("a", model, ASKED)["predictions"]
    service.store.database.change(
        lambda connection: None
    )  # what the answer had written is committed before this
    return found


def changed(service: Service, model: str) -> None:
    service.add("a", model, posted([("log me in", "login"), ("the card again", "card")]))


CHANGES: dict[str, Callable[[Service, str], Any]] = {
    "none": lambda service, model: None,
    "add": changed,
    "remove": lambda service, model: service.remove("a", model, ["e1"]),
    "restore": lambda service, model: (changed(service, model), service.restore("a", model, 1)),
    "relabel": lambda service, model: service.relabel("a", model, "card", "cards"),
    "forget": lambda service, model: service.forget("a", model, ["e1"]),
    "rebase": lambda service, model: service.rebase("a", model, "other"),
    "drop": lambda service, model: service.store.drop_features(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_answers_from_what_is_kept_are_those_of_solving_again(service: Service, change: str) -> None:
    model = service.teach("a", "desk", posted(DESK))["id"]
    CHANGES[change](service, model)
    cold(service, model)  # fills what the change has left empty
    whole = service.store.version("a", model)
    short = service.store.quick("a", model)
    assert whole.kept is None
    assert short.kept is not None
    assert short.kept.solved
    assert short.kept.gauge is not None
    assert (short.version, list(short.labels)) == (whole.version, list(whole.labels))
    fresh = service.tasks.of("a", whole)
    assert fresh.gauge is not None
    assert short.kept.gauge == pytest.approx(fresh.gauge.numbers, abs=1e-5)
    expected = fresh.predict(ASKED).to_json()
    for given, told in zip(cold(service, model), expected, strict=True):
        assert (given["label"], given["unknown"]) == (told["label"], told["unknown"])
        assert given["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)
    assert service.store.check() == (1, [])


def test_older_versions_answer_as_they_did(service: Service) -> None:
    model = service.teach("a", "desk", posted(DESK))["id"]
    first = cold(service, model)
    changed(service, model)
    second = cold(service, model)
    service.restore("a", model, 1)
    service.forget("a", model, ["e9"])
    service.tasks.drop("a", model)
    for number, told in ((1, first), (3, first)):
        given = service.predict("a", model, ASKED, version=number)["predictions"]
        assert [one["label"] for one in given] == [one["label"] for one in told]
        for one, other in zip(given, told, strict=True):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    assert second != first
    changed(service, model)
    assert service.show("a", model)["versions"] == [1, 2, 3, 4]


def test_a_sheet_of_another_row_is_not_taken(service: Service) -> None:
    """Sheets are sealed for their model. One that lies in another's row is told as corrupt; one on the shelf that another
    row names counts as not kept. Neither is answered from."""
    from sqlalchemy import select, update

    from kshot.serving.faults import Corrupt
    from kshot.serving.schema import FEATURES

    one, other = (service.teach("a", "desk", posted(DESK[k:]))["id"] for k in (0, 2))
    before = cold(service, one)
    columns = (FEATURES.c.sheet_place, FEATURES.c.sheet_length)

    def put(**values: Any) -> None:
        change = update(FEATURES).where(FEATURES.c.model == one).values(**values)
        service.store.database.change(lambda c: c.execute(change).rowcount)
        service.tasks.drop("a", one)

    place, length = service.store.database.read(
        lambda c: c.execute(select(*columns).where(FEATURES.c.model == other)).one()
    )
    put(sheet_place=place, sheet_length=length)
    for given, told in zip(cold(service, one), before, strict=True):
        assert given["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)
    assert service.store.shelf is not None
    put(sheet=service.store.shelf.get(place, length), sheet_place=None, sheet_length=None)
    with pytest.raises(Corrupt, match=one):
        service.predict("a", one, ASKED)
    assert service.predict("a", other, ASKED)["version"] == 1


def test_cold_models_that_are_asked_together_answer_as_alone(service: Service) -> None:
    from kshot.serving.faults import NotFound
    from kshot.serving.service import Asked

    models = [service.teach("a", "desk", posted(DESK[k:]))["id"] for k in range(6)]
    alone = [cold(service, model) for model in models]
    for model in models:
        service.tasks.drop("a", model)
    asked = [Asked("a", model, ASKED) for model in models]
    told = service.predict_many(
        [*asked[:3], Asked("b", models[0], ASKED), *asked[3:], Asked("a", "m_no", ASKED)]
    )
    assert isinstance(told[3], NotFound)
    assert isinstance(told[7], NotFound)
    for given, expected in zip([*told[:3], *told[4:7]], alone, strict=True):
        assert isinstance(given, dict)
        for one, other in zip(given["predictions"], expected, strict=True):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_one_question_and_many_are_answered_alike_out_of_groups(service: Service) -> None:
    """Of up to a few questions zeros stay left out; for more the whole is made."""
    model = service.teach("a", "desk", posted(DESK))["id"]
    many = cold(service, model) + service.predict("a", model, ASKED * 3)["predictions"]
    [(kept, _)] = service.tasks._cache.values()
    assert isinstance(kept, Answerer)
    assert isinstance(kept._state["quick"].rows, GroupedRows)
    for place, text in enumerate(ASKED):
        [told] = service.predict("a", model, [text])["predictions"]
        for given in many[place::3]:
            assert (given["label"], given["unknown"]) == (told["label"], told["unknown"])
            assert given["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)


def test_what_only_answers_gives_way_to_the_whole_task_where_more_is_asked(service: Service) -> None:
    """A cold answer makes no examples; explaining, checking and a graph need them, and answers stay what they are."""
    model = service.teach("a", "desk", posted(DESK))["id"]
    first = cold(service, model)
    [(kept, _)] = service.tasks._cache.values()
    assert isinstance(kept, Answerer)
    assert service.explain("a", model, ASKED[0])["evidence"][0]["label"] == "card"
    [(whole, weight)] = service.tasks._cache.values()
    assert isinstance(whole, Adapted)
    assert service.tasks._held == weight
    for given, told in zip(service.predict("a", model, ASKED)["predictions"], first, strict=True):
        assert given["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)
    cold(service, model)
    assert service.check("a", model, posted(DESK))["right"] == len(DESK)


@pytest.mark.slow  # writing a graph takes seconds
def test_a_graph_of_a_task_that_was_kept_answers_as_it_does(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = torch.randn(12, 128, generator=torch.Generator().manual_seed(0))
    service = Service(
        Store.at(tmp_path), {"rows": kshot.learners.ClosedForm(kshot.encoders.identity(128)).eval()}
    )
    model = service.teach(
        "a", "rows", [{"input": x.tolist(), "label": f"c{k % 3}"} for k, x in enumerate(rows)]
    )["id"]
    service.tasks.drop("a", model)
    told = service.predict("a", model, rows.tolist())["predictions"]
    assert isinstance(next(iter(service.tasks._cache.values()))[0], Answerer)
    session = onnxruntime.InferenceSession(service.onnx("a", model))
    found = dict(
        zip(
            [one.name for one in session.get_outputs()],
            session.run(None, {session.get_inputs()[0].name: rows.numpy()}),
            strict=True,
        )
    )
    for given, one in zip(found["probabilities"], told, strict=True):
        assert given.tolist() == pytest.approx(list(one["probabilities"].values()), abs=1e-4)
    service.close()


def test_a_sheet_of_an_older_layout_is_made_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kshot.serving.sheets._MARK", b"kst1")
    model = service.teach("a", "desk", posted(DESK))["id"]
    told = cold(service, model)
    monkeypatch.undo()
    service.tasks.drop("a", model)
    assert service.store.on_sheet("a", model) is None
    for given, expected in zip(cold(service, model), told, strict=True):
        assert given["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert service.store.on_sheet("a", model) is not None


def test_prototypes_are_kept_however_few_features_there_are(tmp_path: Path) -> None:
    """They are small, and what a cold answer would compute again: most of what it takes with a small network."""
    rows = torch.randn(12, 64, generator=torch.Generator().manual_seed(0)).half().float()
    service = Service(Store.at(tmp_path), {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(64))})
    model = service.teach(
        "a", "rows", [{"input": x.tolist(), "label": f"c{k % 3}"} for k, x in enumerate(rows)]
    )["id"]
    told = service.predict("a", model, rows.tolist())
    service.tasks.drop("a", model)
    assert service.predict("a", model, rows.tolist()) == told
    [(kept, _)] = service.tasks._cache.values()
    assert isinstance(kept, Answerer)
    fresh = service.tasks.of("a", service.store.version("a", model)).predict(rows)
    assert told["predictions"] == fresh.to_json()
    service.close()


def test_where_memory_is_full_a_task_that_is_asked_once_drives_none_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [service.teach("a", "desk", posted(DESK))["id"] for _ in range(12)]
    for model in models:
        service.tasks.drop("a", model)

    def held() -> list[str]:
        return [model for _, model, *_ in service.tasks._cache]

    service.predict("a", models[0], ASKED)
    service.predict("a", models[1], ASKED)
    monkeypatch.setattr("kshot.serving.tasks._ROOM", service.tasks._held + 1)
    for model in models[2:]:
        service.predict("a", model, ASKED)
    assert held() == models[:2]
    told = service.predict("a", models[5], ASKED)
    assert held() == [models[1], models[5]]
    assert service.predict("a", models[5], ASKED) == told
