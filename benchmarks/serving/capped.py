"""Runs a command under a memory cap of the kernel, which counts the pages of files that it reads too.

python -m benchmarks.serving.capped 768 COMMAND...        768 MiB; takes root, and memory groups (version 1 or 2)

The group is made below the one that this process is in, so whatever limits there are go on holding, and removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_LIMITS = ("memory.limit_in_bytes", "memory.max")


def own_group() -> Path | None:
    """The folder of the memory group that this process is in; None: there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        for root in (_ROOT / "memory", _ROOT):
            group = root / path.lstrip("/")
            if kinds in ("memory", "") and any((group / name).exists() for name in _LIMITS):
                return group
    return None


def cap() -> int | None:
    """MiB that the group of this process may hold, pages of files included; None: it has no limit."""
    group = own_group()
    said = (
        ""
        if group is None
        else next((group / n).read_text().strip() for n in _LIMITS if (group / n).exists())
    )
    return int(said) // 2**20 if said.isdecimal() and int(said) < 2**60 else None


def disk_bytes(process: int | str = "self") -> int:
    """Bytes that a process has had read from the disk so far."""
    return int(
        dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())["read_bytes"]
    )


def main() -> None:
    """Make the group, run, remove the group."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mebibytes", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    parent = own_group()
    if parent is None:
        raise SystemExit("there are no memory groups here; mount them, or run the command without a cap")
    group = parent / f"kshot-{os.getpid()}"
    group.mkdir()
    try:
        limit = next(group / name for name in _LIMITS if (group / name).exists())
        limit.write_text(str(asked.mebibytes * 2**20))
        held = group / "cgroup.procs"
        done = subprocess.run(asked.command, preexec_fn=lambda: held.write_text(str(os.getpid())) and None)
    finally:
        group.rmdir()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
