"""Run by the demo in a process of its own: load a saved task, answer pictures from disk, say what came out."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from kshot.bundles import load_learned
from kshot.demo.lesson import fingerprint_of
from kshot.learners import Adapted


def main(bundle: str, folder: str, threads: str) -> None:
    """Write the fingerprint of all answers to standard output."""
    torch.set_num_threads(int(threads))
    task = load_learned(bundle)
    assert isinstance(task, Adapted)
    pictures = sorted(Path(folder).glob("*.png"))
    sys.stdout.write(fingerprint_of(task.predict(pictures)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
