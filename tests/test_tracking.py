"""Trackers write what the tools themselves read back."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest

import kshot
from kshot import tracking
from kshot.errors import SettingError
from kshot.tracking import TrackingError

VALUES = [(5, {"loss": 1.5, "validation_accuracy": 0.25}), (10, {"loss": 0.5, "validation_accuracy": 0.75})]


def log(tracker: tracking.Tracker) -> None:
    for step, values in VALUES:
        tracker.log(step, values)
    tracker.close()


def test_json_lines_are_read_back_and_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        log(tracking.tracker("jsonl", tmp_path / "new"))
    lines = (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": s, **v} for s, v in VALUES] * 2


def test_json_lines_are_there_before_the_run_ends(tmp_path: Path) -> None:
    tracker = tracking.JsonLines(tmp_path / "log.jsonl")
    tracker.log(*VALUES[0])
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 5, **VALUES[0][1]}
    tracker.close()


def test_json_lines_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"cannot be written .*free space or choose another folder"):
        tracking.JsonLines(tmp_path)


def test_tensorboard_reads_its_events_back(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log(tracking.tracker("tensorboard", tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "validation_accuracy"]
    for name in ("loss", "validation_accuracy"):
        assert [(e.step, e.value) for e in events.Scalars(name)] == [(s, v[name]) for s, v in VALUES]


def records(path: Path) -> list[bytes]:
    """The payloads of a W&B run file: a log of 32 KiB blocks, each record with checksum, length and kind."""
    blob, out, place = path.read_bytes(), [], 7
    while place + 7 <= len(blob):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, _ = struct.unpack("<IHB", blob[place : place + 7])
        out.append(blob[place + 7 : place + 7 + length])
        place += 7 + length
    return out


def history(path: Path, protocol: Any) -> list[tuple[int, dict[str, float]]]:
    """Steps and values in a W&B run file."""
    logged = []
    for payload in records(path):
        record = protocol.Record()
        record.ParseFromString(payload)
        if record.HasField("history"):
            row = {
                item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item
            }
            logged.append((row["_step"], {k: v for k, v in row.items() if not k.startswith("_")}))
    return logged


def test_wandb_offline_leaves_a_run_with_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    protocol = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    for name, value in {"WANDB_SILENT": "true", "WANDB_MODE": "offline", "WANDB_CONSOLE": "off"}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "own"))
    log(tracking.tracker("wandb", tmp_path))
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = run.glob("*.wandb")
    end = time.monotonic() + 20  # another process writes the file, and a busy machine may let it wait
    while len(logged := history(file, protocol)) < len(VALUES) and time.monotonic() < end:
        time.sleep(0.1)
    assert logged == VALUES


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="tracker is 'mlflow'; choose one of jsonl, tensorboard, wandb"):
        tracking.tracker("mlflow", tmp_path)


def test_all_trackers_are_closed_also_where_one_fails() -> None:
    closed: list[str] = []

    class Own:
        def __init__(self, name: str) -> None:
            self.name = name

        def log(self, step: int, values: object) -> None: ...

        def close(self) -> None:
            closed.append(self.name)
            if self.name == "bad":
                raise TrackingError("bad")

    with pytest.raises(TrackingError, match="bad"):
        tracking.Several([Own("bad"), Own("good")]).close()
    assert closed == ["bad", "good"]


def test_fit_logs_the_same_numbers_everywhere(tmp_path: Path) -> None:
    import torch

    pool = kshot.data.Pool(torch.rand(40, 4), [i // 4 for i in range(40)])
    source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(3, 1, 1))
    run = kshot.fit(
        kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,))), source, validate=source, folder=tmp_path,
        trackers=[tracking.tracker("jsonl", tmp_path)], steps=4, validate_every=2, validation_tasks=3, progress=False,
    )  # fmt: skip
    own, other = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("log.jsonl", "metrics.jsonl")
    )
    assert own == other == run.history
    assert set(own[0]) == {
        "step", "loss", "rate", "validation_accuracy", "validation_half", "validation_loss", "seconds", "cpu_seconds",
    }  # fmt: skip
