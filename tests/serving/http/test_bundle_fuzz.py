"""F9 for bundles: whatever is posted as a saved task is taken or refused in words. No 5xx, and nothing half done."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import kshot
from kshot import storage
from kshot.learners.records import task_record
from kshot.serving.http import create_app
from kshot.serving.service import Service
from kshot.serving.store import Store

FEW, MANY = 30, 2000
REFUSED = {404, 413, 422}


class Door:
    """A service's import, and a file that it takes."""

    def __init__(self, folder: Path) -> None:
        base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
        self.service = Service(Store.at(folder), {"rows": base})
        self.client = TestClient(create_app(self.service, keys=False))
        task = base.adapt(torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]), ["x", "y", "z"])
        guarded = task.with_golden(torch.tensor([[0.1, 0.0]]), ["x"])
        self.manifest, self.tensors = task_record(guarded, include_base=False)
        self.good = storage.pack(self.manifest, self.tensors)

    def post(self, data: bytes) -> int:
        """The status; one model more exactly where it says so, and that one answers."""
        before = self.service.store.count()
        answer = self.client.post("/v1/models/import", content=data)
        made = self.service.store.count() - before
        assert made == (answer.status_code == 201), answer.text
        if made:
            asked = self.client.post(f"{answer.headers['Location']}/predict", json={"inputs": [[5.0, 5.0]]})
            assert asked.status_code == 200, asked.text
        else:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    made = Door(tmp_path_factory.mktemp("door"))
    yield made
    made.service.close()


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KINDS = some.sampled_from([torch.float32, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool])


@some.composite
def tensors(draw: some.DrawFn) -> torch.Tensor:
    """Of any kind and shape, with numbers that are hard to reckon with."""
    shape = draw(some.lists(some.integers(0, 4), max_size=3))
    value = draw(some.sampled_from([0.0, 1.0, float("nan"), float("inf"), 3e38, -1.0]))
    kind = draw(KINDS)
    whole = not kind.is_floating_point and abs(value) != 1.0
    return torch.full(shape, 0.0 if whole else value).to(kind)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All paths into a JSON value."""
    yield here
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*here, key))


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    value[path[0]] = put(value[path[0]], path[1:], other)
    return value


def damaged(door: Door, data: some.DataObject) -> None:
    """A good file with bytes changed, taken out or put in: never taken."""
    raw = bytearray(door.good)
    for _ in range(data.draw(some.integers(1, 4))):
        first = data.draw(some.integers(0, len(raw)))
        last = data.draw(some.integers(first, min(len(raw), first + 16)))
        raw[first:last] = data.draw(some.binary(max_size=16))
    if bytes(raw) != door.good:
        assert door.post(bytes(raw)) in REFUSED


def written(door: Door, data: some.DataObject) -> None:
    """A file whose checksum fits, by a program that was written to break in."""
    manifest, held = copy.deepcopy(dict(door.manifest)), dict(door.tensors)
    for _ in range(data.draw(some.integers(1, 2))):
        path = data.draw(some.sampled_from([p for p in places(manifest) if p]))
        manifest = put(manifest, path, data.draw(JSON))
    if data.draw(some.booleans()):
        held[data.draw(some.sampled_from(sorted(held)))] = data.draw(tensors())
    assert door.post(storage.pack(manifest, held)) in {201, *REFUSED}


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}


def test_the_file_itself_is_taken(door: Door) -> None:
    assert door.post(door.good) == 201


@settings(max_examples=FEW, **QUIET)
@given(data=some.data())
def test_damaged_files(door: Door, data: some.DataObject) -> None:
    damaged(door, data)


@settings(max_examples=FEW, **QUIET)
@given(data=some.data())
def test_files_written_by_hand(door: Door, data: some.DataObject) -> None:
    written(door, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=MANY, **QUIET)
@given(data=some.data())
def test_many_files(door: Door, data: some.DataObject) -> None:
    damaged(door, data)
    written(door, data)
