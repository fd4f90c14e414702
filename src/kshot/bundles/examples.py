"""The examples of a saved task, read without its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.errors import BundleError
from kshot.tasks.spaces import OutputSpace, space_from_json


@dataclass(frozen=True)
class SavedExamples:
    """What a saved task knows, without its base.

    Attributes:
        path: its file. inputs, targets: its examples, inputs in raw form. digests: their content hashes.
        space: what an answer is. modality: the kind of input. base: fingerprint of its base.
    """

    path: Path
    inputs: Any
    targets: list[Any]
    digests: list[str]
    space: OutputSpace
    modality: str
    base: str


def saved_examples(path: Path) -> SavedExamples | None:
    """The examples of a saved task, read without its base; None for a file that holds a base.

    Raises:
        BundleError: a damaged file, or none of kshot's.
    """
    manifest, tensors = storage.read(path)
    if manifest.get("what") != "task":
        return None
    try:
        items = items_of(manifest, tensors)
        found = SavedExamples(
            path,
            torch.stack(items) if manifest["inputs"] == "stacked" else items,
            list(manifest["targets"]),
            list(manifest["digests"]),
            space_from_json(manifest["space"]),
            manifest["modality"],
            manifest["base"]["fingerprint"],
        )
    except (LookupError, TypeError, ValueError) as cause:
        raise BundleError(f"{path} is no saved task that makes sense ({cause}); save it again") from cause
    if not len(items) == len(found.targets) == len(found.digests):
        raise BundleError(
            f"{path}: {len(items)} inputs with {len(found.targets)} targets; save the task again"
        )
    return found


def items_of(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[Any]:
    """Inputs in raw form, one by one."""
    if manifest["inputs"] == "stacked":
        return list(tensors["inputs"])
    if manifest["inputs"] == "single":
        return [tensors[f"inputs/{place}"] for place in range(len(manifest["ids"]))]
    return list(manifest["inputs"])
