"""kshot db: upgrade, backup, copy, sweep, drop-features, check, rebase."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import kshot
from commands import call, figures
from kshot.serving.service import Service
from kshot.serving.store import Store
from kshot.serving.upgrading import REVISION

OLD = Path(__file__).parent.parent / "serving" / "assets" / "revision1.db"
TEXTS = [{"input": f"{word} my card {n}", "label": word} for word in ("order", "cancel") for n in range(3)]


def folder_with_a_model(folder: Path) -> str:
    service = Service(Store.at(folder), {"desk": kshot.text.classifier("hash:ngram?dim=64")})
    model = str(service.teach("local", "desk", TEXTS)["id"])
    service.remove("local", model, ["e5"])
    service.close()
    return model


def test_upgrade_says_what_it_did(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / "kshot.db")
    refused = call("db", "sweep", "--data-dir", tmp_path, code=2)
    assert "kshot db upgrade" in refused.output
    assert f"0001 -> {REVISION}" in call("db", "upgrade", "--data-dir", tmp_path).output
    assert "already" in call("db", "upgrade", "--data-dir", tmp_path).output
    assert "2 models read, 0 faults" in call("db", "check", "--data-dir", tmp_path).output


def test_a_backup_is_served_like_the_store(tmp_path: Path) -> None:
    model = folder_with_a_model(tmp_path / "data")
    call("db", "backup", tmp_path / "copy.db", "--data-dir", tmp_path / "data")
    assert (
        "already"
        in call("db", "backup", tmp_path / "copy.db", "--data-dir", tmp_path / "data", code=2).output
    )
    told = call("db", "copy", "--to", f"sqlite:///{tmp_path / 'other.db'}", "--database", f"sqlite:///{tmp_path / 'copy.db'}")  # fmt: skip
    assert "rows copied" in told.output
    store = Store(f"sqlite:///{tmp_path / 'other.db'}")
    assert store.versions("local", model) == [1, 2]
    store.close()


def test_sweep_and_drop_features_and_check(tmp_path: Path) -> None:
    model = folder_with_a_model(tmp_path)
    gone = figures(call("db", "sweep", "--keep-versions", "1", "--data-dir", tmp_path, "--json"))
    assert gone == {"answers": 0, "versions": 1, "artifacts": 0}
    assert "1 blobs" in call("db", "drop-features", "--data-dir", tmp_path).output
    with sqlite3.connect(tmp_path / "kshot.db") as connection:
        connection.execute("UPDATE examples SET labels = X'00'")
    connection.close()
    told = call("db", "check", "--data-dir", tmp_path, code=1).output
    assert model in told
    assert "1 faults" in told


def test_rebase_moves_the_store_and_reports(tmp_path: Path) -> None:
    model = folder_with_a_model(tmp_path)
    words = [
        "--base",
        "desk=hash:ngram?dim=64",
        "--base",
        "wide=hash:ngram?dim=256",
        "--data-dir",
        tmp_path,
        "--json",
    ]
    told = figures(call("db", "rebase", "--from", "desk", "--to", "wide", *words))
    assert (told["moved"], told["failed"], told["judged"]) == (1, 0, 5)
    rows = [json.loads(line) for line in (tmp_path / "rebase-desk-wide.jsonl").read_text().splitlines()]
    assert [row["model"] for row in rows] == [model]
    assert "not served" in call("db", "rebase", "--from", "desk", "--to", "none", *words, code=2).output
