"""What a saved file is, without adapting anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from kshot import storage
from kshot.bundles.places import find
from kshot.learners.self_knowledge import Cell


def facts(name: Path) -> dict[str, Any]:
    """Flat facts about a .kshot file or a bundled base.

    Raises:
        BundleError: not there or damaged.
    """
    path = find(name)
    manifest, tensors = storage.read(path)
    common = {
        "kshot": manifest["what"],
        "file": str(path),
        "format": manifest["format"],
        "bytes": path.stat().st_size,
    }
    if manifest["what"] == "learner":
        common |= {**_base(manifest), **_knows(tensors), "numbers": sum(t.numel() for t in tensors.values())}
    if manifest["what"] == "task":
        common |= _task(manifest)
    if manifest["what"] == "answers":
        common |= _bank(manifest)
    return dict(_flat(common))


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Inner objects become names like card_seed, so that the JSON form is flat."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}_".replace(" ", "_"))
        else:
            yield f"{before}{name}".replace(" ", "_"), value


def _base(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "learner": manifest["learner"]["kind"],
        "encoder": manifest["encoder"]["kind"],
        "encoder_settings": manifest["encoder"]["config"],
        "learner_settings": manifest["learner"]["config"],
        "fingerprint": manifest["fingerprint"],
        "card": manifest["card"],
    }


def _knows(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What a calibrated base knows about its answers: accuracy by classes and examples a class, over tasks."""
    found = sorted(
        (Cell.of(row.double().numpy()) for row in tensors.get("self_knowledge", ())),
        key=lambda c: (c.ways, c.shots),
    )
    return {
        "calibrated": bool(found),
        "record": [f"{c.ways:.0f} x {c.shots:.3g}: {100 * c.accuracy:.1f} %" for c in found],
    }


def _bank(manifest: dict[str, Any]) -> dict[str, Any]:
    entries = manifest["entries"]
    return {
        "entries": len(entries),
        "questions": sum(len(entry["questions"]) for entry in entries),
        "names": [entry["id"] for entry in entries],
        "known_messages": len(manifest["known"]),
        "feedback": len(manifest["feedback"]["given"]),
        "encoder": manifest["encoder"]["kind"],
        "encoder_settings": manifest["encoder"]["config"],
        "fingerprint": manifest["fingerprint"],
    }


def _task(manifest: dict[str, Any]) -> dict[str, Any]:
    located = manifest["space"]["kind"] in ("boxes", "spans")
    each = [[piece[-1] for piece in t] if located else [t] for t in manifest["targets"]]
    counts = Counter(str(label) for labels in each for label in labels if label is not None)
    base = manifest["base"]
    inside = base.get("record")
    return {
        "answers_with": manifest["space"]["kind"],
        "classes": [f"{name} ({count})" for name, count in sorted(counts.items())],
        "examples": len(manifest["ids"]),
        "names": list(manifest["ids"]),
        "kept_aside": list(manifest.get("removed", {}).get("ids", [])),
        "takes": manifest["modality"],
        "base": base["name"] or ("inside this file" if inside else "unnamed"),
        "base_fingerprint": base["fingerprint"],
        "base_inside": inside is not None,
        **(
            {"encoder": inside["encoder"]["kind"], "encoder_settings": inside["encoder"]["config"]}
            if inside
            else {}
        ),
    }
