from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_text_models as tiny
import torch

from kshot.errors import SettingError
from kshot.text import FeatureCache, classifier, encoder
from kshot.text.cache import default_cache


def lengths(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[float(len(t)), 1.0] for t in texts])


def never(texts: list[str]) -> torch.Tensor:
    raise AssertionError(f"asked for {texts}")


def test_what_was_encoded_is_not_encoded_again(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    FeatureCache(file).features("e", ["a", "bb", "a"], 2, lengths)
    assert FeatureCache(file).features("e", ["bb", "a"], 2, never).tolist() == [[2.0, 1.0], [1.0, 1.0]]
    assert len(FeatureCache(file)) == 2
    with pytest.raises(AssertionError, match="asked for"):
        FeatureCache(file).features("another encoder", ["a"], 2, never)


def test_a_task_encodes_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder(f"path:{tiny.folder(tmp_path / 'm')}")
    made.cache = FeatureCache(tmp_path / "f.sqlite")
    task = classifier(made).adapt(["a cat", "a dog"], ["cat", "dog"])
    before = task.predict(["the cat"]).probabilities
    monkeypatch.setattr(type(made), "compute", lambda self, texts: never(texts))
    again = classifier(made).adapt(["a cat", "a dog"], ["cat", "dog"])
    assert (again.predict(["the cat"]).probabilities == before).all()
    with pytest.raises(AssertionError, match="bird"):
        again.predict(["a bird"])


def test_it_stays_within_its_size(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "f.sqlite", megabytes=0.01)
    for start in range(0, 3000, 300):
        cache.features("e", [f"text {k}" for k in range(start, start + 300)], 2, lengths)
    assert 0 < cache.size() <= 0.01 * 2**20
    cache.features("e", ["text 2999"], 2, never)  # the newest are kept


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    file.write_bytes(b"this is no database" * 100)
    cache = FeatureCache(file)
    assert cache.features("e", ["a"], 2, lengths).tolist() == [[1.0, 1.0]]
    cache.features("e", ["a"], 2, lengths)
    assert cache.features("e", ["a"], 2, never).tolist() == [[1.0, 1.0]]


def test_where_it_cannot_write_it_computes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert FeatureCache(tmp_path / "file" / "f.sqlite").features("e", ["a"], 2, lengths).tolist() == [
        [1.0, 1.0]
    ]


WRITER = """
import sys, torch
from kshot.text.cache import FeatureCache
cache, name, count = FeatureCache(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for k in range(count):
    cache.features("e", [f"{name} {k} {j}" for j in range(5)] + [f"shared {k}"], 2, lambda t: torch.tensor([[float(len(x)), 1.0] for x in t]))
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), name, str(count)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    running = [writer(file, name, 20) for name in ("one", "two")]
    assert [process.wait(60) for process in running] == [0, 0]
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
    assert len(FeatureCache(file)) == 2 * 20 * 5 + 20


def test_it_survives_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    process = writer(file, "killed", 100_000)
    assert process.stdout is not None
    process.stdout.readline()
    limit = time.monotonic() + 30
    while len(FeatureCache(file)) < 20 and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    cache = FeatureCache(file)
    kept = len(cache)
    assert kept >= 20
    assert sqlite3.connect(file).execute("pragma integrity_check").fetchone() == ("ok",)
    cache.features("e", ["after"], 2, lengths)
    assert len(cache) == kept + 1
    assert cache.features("e", ["killed 0 0"], 2, never).tolist() == [[10.0, 1.0]]


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_cache() is None  # as the tests set it
    monkeypatch.setenv("KSHOT_FEATURE_CACHE", str(tmp_path / "mine.sqlite"))
    monkeypatch.setenv("KSHOT_FEATURE_CACHE_MB", "2")
    cache = default_cache()
    assert cache is not None
    assert (cache.path, cache.limit) == (tmp_path / "mine.sqlite", 2 * 2**20)
    monkeypatch.setenv("KSHOT_FEATURE_CACHE_MB", "much")
    with pytest.raises(SettingError, match="much"):
        default_cache()
    monkeypatch.delenv("KSHOT_FEATURE_CACHE")
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    monkeypatch.delenv("KSHOT_FEATURE_CACHE_MB")
    assert default_cache().path == tmp_path / "features.sqlite"  # type: ignore[union-attr]
