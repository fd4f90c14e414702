"""Writes the saved bundles of the present format version: python tests/bundles/make_assets.py

Run it once per format version and never again for an old one: assets of older versions must load forever.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

import kshot
from kshot.storage import FORMAT

ASSETS = Path(__file__).parent / "assets"


def queries() -> dict[str, torch.Tensor]:
    """What the saved tasks are asked; arithmetic, so that no generator can change it."""
    rows = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 24
    return {
        "images": torch.arange(4 * 64).reshape(4, 1, 8, 8).mul(7).remainder(256).to(torch.uint8),
        "rows": rows,
    }


def tasks() -> dict[str, kshot.Adapted]:
    """One small task of each kind."""
    torch.manual_seed(0)
    pictures = torch.arange(6 * 64).reshape(6, 1, 8, 8).mul(11).remainder(256).to(torch.uint8)
    rows = torch.arange(36, dtype=torch.float32).reshape(6, 6).mul(5).remainder(7) / 7
    labels = ["left", "left", "right", "right", "naïve 漢字", "naïve 漢字"]
    images = kshot.learners.ProtoNet(kshot.encoders.conv4(8, size=8, blocks=2))
    ridge = kshot.learners.ClosedForm(kshot.encoders.mlp(6, (8,)), "kernel_ridge")
    bayes = kshot.learners.ClosedForm(kshot.encoders.identity(6), "bayesian")
    maml = kshot.learners.maml(kshot.encoders.mlp(6, (8,)), outputs=3, steps=2)
    return {
        "images_protonet": images.eval().adapt(pictures, labels),
        "rows_kernel_ridge": ridge.adapt(rows, [3, 3, 1, 1, 2, 2]),
        "rows_bayesian": bayes.adapt(rows, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),
        "rows_maml": maml.adapt(rows, labels),
    }


def answers(task: kshot.Adapted, name: str) -> list[object]:
    """Predictions as JSON."""
    answered: list[object] = task.predict(queries()[name.partition("_")[0]]).to_json()
    return answered


def main() -> None:
    folder = ASSETS / f"format_{FORMAT}"
    folder.mkdir(parents=True)
    for name, task in tasks().items():
        task.save(folder / f"{name}.kshot", include_base=True)
        text = json.dumps(answers(task, name), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
