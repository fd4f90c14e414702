"""The most memory that this process held (Linux)."""

from pathlib import Path


def peak_mb(*, reset: bool = False) -> float:
    """Peak resident memory since the process began or since the last reset, MB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
