"""Tensors and JSON in one file that is whole or not there, and that notices one flipped byte.

The format is safetensors with the manifest as its metadata, so any safetensors tool opens it. The
manifest's `sha256` covers the whole file with its own 64 digits set to zero.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from kshot.errors import BundleError

FORMAT = 1
"""Version of the format; a file with a higher number is refused."""

_ZERO = "0" * 64


def write(path: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write a file in one step: beside its place first, then renamed. On any error nothing is left.

    Raises:
        BundleError: the disk is full or the folder cannot be written.
    """
    return replace_file(path, pack(manifest, tensors))


def pack(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file."""
    # a view would drag its whole storage along, and with it other tasks' examples
    clean = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps({**manifest, "format": FORMAT}, sort_keys=True, ensure_ascii=True)
    blob = save_tensors(clean, {"manifest": text, "sha256": _ZERO})
    place = _digest_place(blob)
    digest = hashlib.sha256(blob).hexdigest().encode()
    return blob[:place] + digest + blob[place + 64 :]


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Manifest and tensors of a file.

    Raises:
        BundleError: missing, truncated, changed by a byte, or of a newer format.
    """
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist; check the path") from None
    except OSError as cause:
        raise BundleError(f"{path} cannot be read ({cause.strerror}); check the file") from cause
    return unpack(blob, str(path))


def unpack(blob: bytes, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Manifest and tensors out of a file's bytes; `name` is for messages."""
    header = _header(blob, name)
    place = _digest_place(blob)
    if hashlib.sha256(blob[:place] + _ZERO.encode() + blob[place + 64 :]).hexdigest() != header["sha256"]:
        raise BundleError(f"{name} is damaged: its checksum does not fit its content; fetch or save it again")
    manifest = json.loads(header["manifest"])
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"{name} has format {manifest['format']}; this kshot reads up to {FORMAT}: upgrade kshot to open it"
        )
    return manifest, load_tensors(blob)


def replace_file(path: Path, data: bytes) -> Path:
    """Write bytes so that `path` holds either all of them or what it held before."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as cause:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise BundleError(
            f"{path} cannot be written ({cause.strerror or cause}); {len(data)} bytes are needed, nothing was "
            "changed: free space or choose another place"
        ) from cause
    return path


def _header(blob: bytes, name: str) -> dict[str, str]:
    try:
        size = int.from_bytes(blob[:8], "little")
        found: dict[str, str] = json.loads(blob[8 : 8 + size])["__metadata__"]
        if not {"manifest", "sha256"} <= set(found) or blob.find(b'"sha256":"') < 0:
            raise KeyError("manifest")
        load_tensors(blob)
        return found
    except (ValueError, KeyError, TypeError, SafetensorError, UnicodeDecodeError, RecursionError) as cause:
        raise BundleError(f"{name} is not a whole kshot file ({cause}); fetch or save it again") from cause


def _digest_place(blob: bytes) -> int:
    key = b'"sha256":"'
    header = 8 + int.from_bytes(blob[:8], "little")
    return blob.index(key, 0, header) + len(key)


__all__ = ["FORMAT", "pack", "read", "replace_file", "unpack", "write"]
