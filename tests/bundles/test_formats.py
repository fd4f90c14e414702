"""Every format that was ever written loads, with the predictions it had."""

from __future__ import annotations

import json
from pathlib import Path

import make_assets
import pytest

import kshot
from kshot.storage import FORMAT

SAVED = sorted(make_assets.ASSETS.glob("format_*/*.kshot"))


def test_the_present_format_has_assets() -> None:
    present = {path.stem for path in SAVED if path.parent.name == f"format_{FORMAT}"}
    assert present == set(make_assets.tasks())
    assert sum(path.stat().st_size for path in SAVED) < 50_000 * FORMAT


@pytest.mark.parametrize("path", SAVED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_saved_tasks_load_forever_with_the_same_predictions(path: Path) -> None:
    task = kshot.load(path)
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    for now, then in zip(make_assets.answers(task, path.stem), expected, strict=True):
        assert now["label" if "label" in now else "value"] == pytest.approx(
            then["label" if "label" in then else "value"], abs=1e-5
        )
        if "label" in now:
            assert now["unknown"] == then["unknown"]
            assert now["probabilities"] == pytest.approx(then["probabilities"], abs=1e-5)
        else:
            assert now["deviation"] == pytest.approx(then["deviation"], abs=1e-5)
