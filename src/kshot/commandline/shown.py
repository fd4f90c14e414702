"""What a saved file is, without adapting anything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from kshot import bundles, storage


def facts(name: Path) -> dict[str, Any]:
    """Flat facts about a .kshot file or a bundled base.

    Raises:
        BundleError: not there or damaged.
    """
    path = bundles._find(name)
    manifest, tensors = storage.read(path)
    common = {
        "kshot": manifest["what"],
        "file": str(path),
        "format": manifest["format"],
        "bytes": path.stat().st_size,
    }
    if manifest["what"] == "learner":
        return {**common, **_base(manifest), "numbers": sum(t.numel() for t in tensors.values())}
    if manifest["what"] == "task":
        return {**common, **_task(manifest)}
    return common


def _base(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "learner": manifest["learner"]["kind"],
        "encoder": manifest["encoder"]["kind"],
        "settings": {**manifest["encoder"]["config"], **manifest["learner"]["config"]},
        "fingerprint": manifest["fingerprint"],
        "card": manifest["card"],
    }


def _task(manifest: dict[str, Any]) -> dict[str, Any]:
    counts = Counter(str(target) for target in manifest["targets"])
    return {
        "answers_with": manifest["space"]["kind"],
        "classes": dict(sorted(counts.items())),
        "examples": len(manifest["ids"]),
        "names": list(manifest["ids"]),
        "takes": manifest["modality"],
        "base": manifest["base"]["name"] or "unnamed",
        "base_fingerprint": manifest["base"]["fingerprint"],
        "base_inside": "record" in manifest["base"],
    }
