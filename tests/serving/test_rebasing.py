"""A whole store moved to another base: resumed after Ctrl-C and kill -9, with a report that can be trusted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.serving.faults import NotFound
from kshot.serving.rebasing import read_report, rebase_all, right_without
from kshot.serving.service import Service
from kshot.serving.store import Store

EXAMPLES = [
    {"input": [0.0, 9.0], "label": "x"}, {"input": [0.1, -9.0], "label": "x"}, {"input": [0.2, 0.0], "label": "x"},
    {"input": [1.0, 8.0], "label": "y"}, {"input": [0.9, -8.0], "label": "y"}, {"input": [1.1, 1.0], "label": "y"},
]  # fmt: skip
"""The first number tells the classes apart, the second is noise."""


class FirstOnly(kshot.encoders.Identity):
    """The better base: it looks at the first number alone."""

    kind = "first_only"

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return prepared[:, :1]


def service_at(folder: Path, old: bool = True) -> Service:
    bases = {
        "noisy": kshot.learners.ProtoNet(kshot.encoders.identity(2)),
        "clean": kshot.learners.ProtoNet(FirstOnly(2)),
    }
    return Service(Store.at(folder), bases if old else {"clean": bases["clean"]})


def filled(folder: Path, count: int) -> tuple[Service, list[str]]:
    service = service_at(folder)
    return service, [service.teach(f"t{n % 3}", "noisy", EXAMPLES)["id"] for n in range(count)]


def test_every_model_moves_and_the_report_says_what_it_gained(tmp_path: Path) -> None:
    service, models = filled(tmp_path, 7)
    seen: list[tuple[int, int]] = []
    report = rebase_all(
        service, "noisy", "clean", tmp_path / "report.jsonl", told=lambda *at: seen.append(at)
    )
    noisy = service.bases["noisy"].adapt([e["input"] for e in EXAMPLES], [e["label"] for e in EXAMPLES])
    was = right_without(noisy)
    assert was is not None
    assert (report.moved, report.failed, report.judged) == (7, 0, 42)
    assert (report.before, report.after) == (7 * was[0], 42)
    assert (report.better, report.worse) == (7, 0)
    assert was[0] < 6
    assert "100.0 % are right now" in str(report)
    assert seen == [(done, 7) for done in range(8)]
    for n, model in enumerate(models):
        shown = service.show(f"t{n % 3}", model)
        assert (shown["base"], shown["versions"]) == ("clean", [1, 2])
        assert service.store.version(f"t{n % 3}", model).features is not None
        assert service.predict(f"t{n % 3}", model, [[0.0, -8.0]])["predictions"][0]["label"] == "x"
        assert service.predict(f"t{n % 3}", model, [[0.0, -8.0]], version=1)["version"] == 1
    assert rebase_all(service, "noisy", "clean", tmp_path / "report.jsonl") == report
    with pytest.raises(NotFound, match="none"):
        rebase_all(service, "noisy", "none", tmp_path / "other.jsonl")
    service.close()


def test_ctrl_c_in_the_middle_and_again(tmp_path: Path) -> None:
    service, _ = filled(tmp_path, 5)

    def stops(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebase_all(service, "noisy", "clean", tmp_path / "report.jsonl", told=stops)
    assert service.store.count_on("noisy", service.fingerprints["clean"]) == 3
    assert rebase_all(service, "noisy", "clean", tmp_path / "report.jsonl").moved == 5
    service.close()


def test_kill_9_in_the_middle_and_again(tmp_path: Path) -> None:
    service, models = filled(tmp_path, 60)
    service.close()
    file = tmp_path / "report.jsonl"
    if not (child := os.fork()):
        own = service_at(tmp_path)
        rebase_all(own, "noisy", "clean", file)
        os._exit(0)
    end = time.monotonic() + 30
    while time.monotonic() < end and not (file.exists() and file.read_text().count("\n") >= 5):
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    again = service_at(tmp_path)
    left = again.store.count_on("noisy", again.fingerprints["clean"])
    assert 0 < left < 60
    report = rebase_all(again, "noisy", "clean", file)
    assert (report.moved, report.judged, report.after) == (60, 360, 360)
    for n, model in enumerate(models):
        assert again.store.versions(f"t{n % 3}", model) == [1, 2]
    assert again.store.check()[1] == []
    again.close()


def test_what_cannot_move_stays_and_is_told(tmp_path: Path) -> None:
    service, models = filled(tmp_path, 2)
    service.close()
    bases: dict[str, Any] = {"glyphs": kshot.load("glyphs")}
    other = Service(Store.at(tmp_path), bases)
    report = rebase_all(other, "noisy", "glyphs", tmp_path / "report.jsonl")
    assert (report.moved, report.failed) == (0, 2)
    assert {model for _, model, _ in report.faults} == set(models)
    assert other.store.model("t0", models[0])["base"] == "noisy"
    other.close()


def test_without_the_old_base_models_move_unjudged(tmp_path: Path) -> None:
    service, _ = filled(tmp_path, 2)
    service.close()
    again = service_at(tmp_path, old=False)
    report = rebase_all(again, "noisy", "clean", tmp_path / "report.jsonl")
    assert (report.moved, report.judged) == (2, 0)
    assert "none could be judged" in str(report)
    again.close()


def test_a_torn_last_line_of_a_report_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "report.jsonl"
    row = '{"tenant": "a", "model": "m_1", "judged": 4, "before": 4, "after": 2}\n'
    file.write_text(row + row + '{"tenant": "a", "mo')
    report = read_report(file)
    assert (report.moved, report.judged, report.worst) == (1, 4, [("a", "m_1", 4, 4, 2)])
