"""Rows of results/*.jsonl: one JSON object per figure, with everything needed to make it again."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


def data_folder() -> Path:
    """The folder of real data: KSHOT_DATA."""
    folder = os.environ.get("KSHOT_DATA")
    if not folder:
        sys.exit("KSHOT_DATA is not set; set it to the folder that holds omniglot/ and the other data sets")
    return Path(folder)


def machine() -> str:
    """The processor, number of cores, and torch's version."""
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, torch {torch.__version__}"


def commit() -> str:
    """The commit that is checked out."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def append(file: str, **row: Any) -> None:
    """Add a row to results/FILE.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    full = {
        **row,
        "command": "python -m "
        + " ".join([sys.argv[0].split("/")[-2] + "." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }
    with (RESULTS / f"{file}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(full) + "\n")
