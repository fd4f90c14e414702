"""Golden examples of a served model: kept with it, asked by check, in bundles and reports, gone when forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import kshot
from kshot.errors import BundleError, DataError, UnsupportedError
from kshot.serving.faults import NotFound
from kshot.serving.moving import take_in
from kshot.serving.rebasing import rebase_all
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 0.0], "label": "y"}]
GUARDS = [
    {"input": [0.2, 0.0], "label": "x", "golden": True},
    {"input": [0.6, 0.0], "label": "y", "golden": True},
]


@pytest.fixture
def service(tmp_path: Path) -> Any:
    base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    other = kshot.learners.ClosedForm(kshot.encoders.identity(2), "kernel_ridge")
    made = Service(Store.at(tmp_path), {"rows": base, "other": other})
    yield made
    made.close()


def test_they_are_kept_but_not_learned_from(service: Service) -> None:
    plain = service.teach("a", "rows", TWO)["id"]
    told = service.teach("a", "rows", [GUARDS[0], *TWO, GUARDS[1]])
    model = told["id"]
    assert (told["examples"], told["golden"]) == (["e1", "e2"], ["e0", "e3"])
    assert service.predict("a", model, [[0.4, 1.0]]) == service.predict("a", plain, [[0.4, 1.0]])
    assert service.check("a", model) == {"right": 2, "total": 2, "wrong": [], "figures": {}, "version": 1}
    shown = service.show("a", model)
    assert (shown["n_examples"], shown["golden"]) == (
        2,
        [{"id": "e0", "label": "x"}, {"id": "e3", "label": "y"}],
    )
    one = service.example("a", model, "e3")
    assert (one["label"], one["golden"], one["input"]) == ("y", True, pytest.approx([0.6, 0.0]))
    with pytest.raises(DataError, match="no golden"):
        service.check("a", plain)


def test_they_stay_through_changes_and_tell_what_broke(service: Service) -> None:
    model = service.teach("a", "rows", TWO)["id"]
    assert service.add("a", model, GUARDS)["golden"] == ["e2", "e3"]
    service.add("a", model, [{"input": [0.8, 0.0], "label": "x"}])
    told = service.check("a", model)
    assert (told["right"], told["total"], told["version"]) == (1, 2, 3)
    assert told["wrong"] == [{"id": "e3", "place": 1, "expected": "y", "given": "x"}]
    assert service.restore("a", model, 1).get("golden") is None
    assert service.restore("a", model, 2)["golden"] == ["e2", "e3"]
    assert service.rebase("a", model, "other")["golden"] == ["e2", "e3"]
    assert service.remove("a", model, ["e3"])["golden"] == ["e2"]
    with pytest.raises(DataError, match="golden examples of model"):
        service.relabel("a", model, "x", "z")
    assert service.store.check() == (1, [])


def test_forgetting_one_leaves_nothing_of_it(service: Service, tmp_path: Path) -> None:
    model = service.teach("a", "rows", [*TWO, *GUARDS])["id"]
    key = "SELECT secret FROM slots JOIN examples USING (slot) WHERE model = ?"
    with sqlite3.connect(tmp_path / "kshot.db") as connection:
        [secret] = connection.execute(key, (model,)).fetchone()
    connection.close()
    assert secret in b"".join(file.read_bytes() for file in tmp_path.glob("kshot.db*"))
    assert service.forget("a", model, ["e3"])["golden"] == [{"id": "e2", "label": "x"}]
    assert secret not in b"".join(file.read_bytes() for file in tmp_path.glob("kshot.db*"))
    assert service.check("a", model)["total"] == 1
    with pytest.raises(NotFound):
        service.example("a", model, "e3")
    service.store.keep_versions = 1
    service.add("a", model, TWO)
    service.store.sweep(lambda labels, space: space)
    assert service.check("a", model)["total"] == 1


def test_bundles_carry_them_out_and_in(service: Service, tmp_path: Path) -> None:
    model = service.teach("a", "rows", [*TWO, *GUARDS])["id"]
    data = service.bundle("a", model)
    (tmp_path / "task.kshot").write_bytes(data)
    assert kshot.load(tmp_path / "task.kshot").check().total == 2
    again = take_in(service, "b", data)
    assert again["golden"] == ["e2", "e3"]
    assert service.check("b", again["id"])["right"] == 2


def test_a_report_of_a_better_base_counts_them(service: Service, tmp_path: Path) -> None:
    more = [{"input": [0.1, 0.1], "label": "x"}, {"input": [0.9, 0.1], "label": "y"}]
    service.teach("a", "rows", [*TWO, *more, *GUARDS])
    report = rebase_all(service, "rows", "other", tmp_path / "report.jsonl")
    assert (report.judged, report.golden, report.golden_before) == (4, 2, 2)
    assert "of 2 golden examples 2 were right" in str(report)


def test_what_cannot_be_golden_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 2 examples are golden"):
        service.teach("a", "rows", GUARDS)
    with pytest.raises(DataError, match="'q'"):
        service.teach("a", "rows", [*TWO, {"input": [0.0, 0.0], "label": "q", "golden": True}])
    numbers = [{"input": [0.0, 0.0], "label": 0.5}, {"input": [1.0, 0.0], "label": 2.0}]
    with pytest.raises(UnsupportedError, match="numbers"):
        service.teach("a", "other", [*numbers, {"input": [0.0, 0.0], "label": 0.5, "golden": True}])
    task = service.bases["other"].adapt(
        [[0.0, 0.0], [1.0, 0.0], [0.1, 0.0], [0.9, 0.1]], ["x", "y", "x", "y"]
    )
    retuned = task.at_scalars({name: value + 0.1 for name, value in service.bases["other"].scalars().items()})
    retuned.save(tmp_path / "retuned.kshot")
    with pytest.raises(BundleError, match="retuned"):
        take_in(service, "a", (tmp_path / "retuned.kshot").read_bytes())
