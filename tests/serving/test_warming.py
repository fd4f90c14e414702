"""What is read beforehand when a server starts: the small tables, and nothing that could stop it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import kshot
from kshot.serving import warming
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]


@pytest.fixture
def service(tmp_path: Path) -> Any:
    made = Service(Store.at(tmp_path), {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(2))})
    made.teach("a", "rows", TWO)
    yield made
    made.close()


def scanned(service: Service, stopped: bool = False) -> list[str]:
    """What is asked of SQLite meanwhile."""
    said: list[str] = []
    engine = service.store.engine

    def listening(raw: Any, *_: Any) -> None:
        raw.set_trace_callback(said.append)

    event.listen(engine, "checkout", listening)
    try:
        warmer = warming.Warming.__new__(warming.Warming)
        warmer._database, warmer._stop = service.store.database, threading.Event()
        if stopped:
            warmer._stop.set()
        warmer._run()
    finally:
        event.remove(engine, "checkout", listening)
    return [line for line in said if line.startswith("SELECT")]


def test_the_small_tables_are_read_twice_and_no_others(service: Service) -> None:
    said = scanned(service)
    assert {line.split()[3] for line in said} == {"slots", "models", "features"}
    assert len(said) == 1 + 2 * len(warming._SCANS)


def test_a_store_that_is_too_large_is_left_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_MOST", 1)
    assert len(scanned(service)) == 1


def test_it_ends_when_told_and_the_store_works_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_STEPS", 1)
    assert len(scanned(service, stopped=True)) == 1  # the first was interrupted
    assert service.teach("a", "rows", TWO)["version"] == 1
    assert service.store.count() == 2
