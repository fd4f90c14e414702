"""Rows of results/*.jsonl: one JSON object per figure, with everything needed to make it again."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
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


FIELDS = ("what", "regime", "protocol", "seeds", "cpu_seconds")
"""Of every row, beside what `append` knows itself."""


def _module() -> str:
    """The benchmark that runs, by its dotted name."""
    return ".".join(Path(sys.argv[0]).resolve().relative_to(ROOT).with_suffix("").parts)


def _word(word: str) -> str:
    """An argument as a row keeps it: where a folder lies on one machine is no part of how a figure is made."""
    return "PATH" if Path(word).is_absolute() else word


def append(file: str, **row: Any) -> None:
    """Add a row to results/FILE.jsonl; CPU seconds, where not given, are those of this process so far.

    Raises:
        ValueError: a field of FIELDS is missing.
    """
    RESULTS.mkdir(exist_ok=True)
    row = {"cpu_seconds": round(time.process_time(), 1), **row}
    missing = [name for name in FIELDS if name not in row]
    if missing:
        raise ValueError(f"the row lacks {', '.join(missing)}; seeds is [] where nothing is random")
    full = {
        **row,
        "command": " ".join(["python -m", _module(), *map(_word, sys.argv[1:])]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }
    with (RESULTS / f"{file}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(full) + "\n")
