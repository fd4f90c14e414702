"""What lies on the shelf can be lost: it is made again. It is copied, swept, and shared between processes."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import kshot
from kshot.learners import Learner
from kshot.serving.faults import StoreFull
from kshot.serving.service import Asked, Service
from kshot.serving.shelf import Shelf
from kshot.serving.store import Store

DESK = [("where is my card?", "card"), ("my card is lost", "card"), ("send money", "pay"), ("pay Bob", "pay")]
POSTED = [{"input": text, "label": label} for text, label in DESK]
ASKED = ["has my card been sent?", "send it to Bob"]


@pytest.fixture(scope="module")
def bases() -> dict[str, Learner]:
    return {"desk": kshot.text.classifier("hash:ngram")}


@pytest.fixture(autouse=True)
def all_on_the_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a few short texts would fit into their row."""
    monkeypatch.setattr("kshot.serving.blobs.SHORT", 64)


def open_at(folder: Path, bases: dict[str, Learner]) -> Service:
    return Service(Store.at(folder), bases)


def shelf_of(service: Service) -> Shelf:
    assert service.store.shelf is not None
    return service.store.shelf


def same(given: Any, told: Any) -> bool:
    """Equal answers, within what float16 features leave."""
    return bool(
        given["predictions"][0]["probabilities"]
        == pytest.approx(told["predictions"][0]["probabilities"], abs=1e-5)
    )


def test_a_lost_shelf_is_made_again(tmp_path: Path, bases: dict[str, Learner]) -> None:
    service = open_at(tmp_path, bases)
    models = [service.teach("a", "desk", POSTED[: 4 - n % 2])["id"] for n in range(4)]
    service.add("a", models[0], [{"input": "a new card", "label": "card"}])
    told = [service.predict("a", model, ASKED) for model in models]
    service.close()
    for path in tmp_path.glob("kshot.db.features.*"):
        path.unlink()
    again = open_at(tmp_path, bases)
    assert len(again.store.check()[1]) == 4
    for _ in range(2):
        for model, before in zip(models, told, strict=True):
            again.tasks.drop("a", model)
            assert same(again.predict("a", model, ASKED), before)
    assert again.store.check() == (4, [])
    assert again.store.quick("a", models[0]).kept is not None
    again.close()


def test_what_a_power_cut_left_of_the_shelf_is_told_apart(tmp_path: Path, bases: dict[str, Learner]) -> None:
    """The end is missing, and what lies before it was never written: the system left zeros."""
    service = open_at(tmp_path, bases)
    models = [service.teach("a", "desk", POSTED)["id"] for _ in range(3)]
    told = service.predict("a", models[0], ASKED)
    service.close()
    [path] = tmp_path.glob("kshot.db.features.*")
    raw = bytearray(path.read_bytes())
    third = len(raw) // 3
    raw[third : 2 * third] = bytes(third)
    path.write_bytes(raw[:-100])
    again = open_at(tmp_path, bases)
    for model in models:
        assert same(again.predict("a", model, ASKED), told)
    again.close()


def test_a_shelf_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, bases: dict[str, Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_at(tmp_path, bases)
    model = service.teach("a", "desk", POSTED)["id"]

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for broken in (full, lambda _, data: len(data) // 2):
        with monkeypatch.context() as patched:
            patched.setattr("kshot.serving.shelf.os.write", broken)
            with pytest.raises(StoreFull, match="features cannot be written"):
                service.teach("a", "desk", POSTED)
            with pytest.raises(StoreFull):
                service.add("a", model, POSTED)
    assert service.store.count() == 1
    assert service.show("a", model)["version"] == 1
    assert service.add("a", model, POSTED)["version"] == 2
    service.close()


def test_two_processes_share_a_shelf_and_it_is_swept(tmp_path: Path, bases: dict[str, Learner]) -> None:
    one, other = open_at(tmp_path, bases), open_at(tmp_path, bases)
    models = [(one, other)[n % 2].teach("a", "desk", POSTED[: 3 + n % 2])["id"] for n in range(8)]
    told = {model: one.predict("a", model, ASKED) for model in models}
    whole = shelf_of(one).size()
    for model in models[2:]:
        one.delete("a", model)
    for _ in range(30):  # else so little is gone that it does not pay
        one.store.drop_features(), [one.tasks.drop("a", model) for model in models[:2]]
        assert all(same(one.predict("a", model, ASKED), told[model]) for model in models[:2])
    assert shelf_of(one).size() < whole
    assert [number for number, _ in shelf_of(one).files()] == [31]
    fresh = other.teach("a", "desk", POSTED)["id"]  # into the new file, though it had the old one open
    assert one.store.quick("a", fresh).kept is not None
    for service in (one, other):
        for model in models[:2]:
            service.tasks.drop("a", model)
            assert same(service.predict("a", model, ASKED), told[model])
        assert service.store.check() == (3, [])
        service.close()


def test_sweeping_keeps_what_rows_name(
    tmp_path: Path, bases: dict[str, Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.serving.upkeep.INLINE", 0)
    service = open_at(tmp_path, bases)
    models = [service.teach("a", "desk", POSTED)["id"] for _ in range(6)]
    service.remove("a", models[0], ["e0"])  # its sheet lies alone
    told = {model: service.predict("a", model, ASKED) for model in models[:2]}
    for model in models[2:]:
        service.delete("a", model)
    whole = shelf_of(service).size()
    service.store.sweep(lambda labels, space: space)
    assert 0 < shelf_of(service).size() < whole / 2
    for model in models[:2]:
        assert service.store.quick("a", model).kept is not None
        service.tasks.drop("a", model)
        assert same(service.predict("a", model, ASKED), told[model])
    assert service.store.check() == (2, [])
    service.close()


@pytest.mark.parametrize("how", ["backup", "backup without its shelf", "copy"])
def test_a_copy_answers_as_the_store(tmp_path: Path, bases: dict[str, Learner], how: str) -> None:
    service = open_at(tmp_path / "own", bases)
    model = service.teach("a", "desk", POSTED)["id"]
    told = service.predict("a", model, ASKED)
    path = tmp_path / "copy.db"
    if how == "copy":
        service.store.copy_to(f"sqlite:///{path}", None)
    else:
        service.store.backup(path)
    service.close()
    if how == "backup without its shelf":
        (tmp_path / "copy.db.features.1").unlink()
    copy = Service(Store(f"sqlite:///{path}"), bases)
    kept = copy.store.quick("a", model).kept is not None
    assert kept == (how != "backup without its shelf")
    assert same(copy.predict("a", model, ASKED), told)
    assert copy.store.check() == (1, [])
    copy.close()


def test_without_a_shelf_models_are_looked_up_by_threads(tmp_path: Path, bases: dict[str, Learner]) -> None:
    """As on PostgreSQL: everything lies in rows, and several cold models are read at once."""
    service = open_at(tmp_path, bases)
    service.store.shelf = None
    models = [service.teach("a", "desk", POSTED)["id"] for _ in range(5)]
    told = service.predict("a", models[0], ASKED)
    for model in models:
        service.tasks.drop("a", model)
    found = service.predict_many([Asked("a", model, ASKED) for model in models])
    assert all(isinstance(one, dict) and same(one, told) for one in found)
    assert not list(tmp_path.glob("*.features.*"))
    service.close()


def test_a_model_that_moves_while_it_is_asked_is_answered_by_its_new_base(
    tmp_path: Path, bases: dict[str, Learner]
) -> None:
    """Between the look at its row and its answer, another process has rebased it, and the shelf is lost."""
    both = {**bases, "other": kshot.text.classifier("hash:ngram?dim=512")}
    service, elsewhere = open_at(tmp_path, both), open_at(tmp_path, both)
    model = service.teach("a", "desk", POSTED)["id"]
    service.tasks.drop("a", model)
    real = service.batcher.embed

    def embed(learner: Learner, read: Any) -> Any:
        if learner is both["desk"]:
            elsewhere.rebase("a", model, "other")
            (tmp_path / "kshot.db.features.1").write_bytes(b"")
        return real(learner, read)

    service.batcher.embed = embed  # type: ignore[method-assign]
    given = service.predict("a", model, ASKED)
    assert given["version"] == 2
    assert same(given, elsewhere.predict("a", model, ASKED))
    service.close()
    elsewhere.close()
