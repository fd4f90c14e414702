"""Tensors and JSON in one file that is whole or not there, and that notices one flipped byte.

The format is safetensors, so any safetensors tool opens it. Its metadata has one entry, `kshot`: 64
digits of SHA-256 over the whole file with these digits set to zero, then the manifest, a JSON object.
(One entry, because safetensors writes several in random order; so equal content gives equal bytes.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
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

_ZERO = b"0" * 64
_KEY = b'"kshot":"'
_LARGEST_HEADER = 2**27
_LEFTOVER = ".kshot-part-"
"""Files being written start with this; after a kill -9 one may stay."""


def write(path: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write a file in one step: beside its place first, then renamed. On any error nothing is left.

    Raises:
        BundleError: the disk is full or the folder cannot be written; the manifest is no JSON.
    """
    return replace_file(path, pack(manifest, tensors))


def pack(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file."""
    # a view would drag its whole storage along, and with it other tasks' examples
    clean = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        text = json.dumps({**manifest, "format": FORMAT}, sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError) as cause:
        raise BundleError(
            f"this cannot be saved ({cause}); a saved file holds tensors, strings and numbers only"
        ) from cause
    blob = save_tensors(clean, {"kshot": _ZERO.decode() + text})
    place = _digest_place(blob)
    return blob[:place] + _digest(blob, place).encode() + blob[place + 64 :]


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
    try:
        digest, text = _header(blob)
        if _digest(blob, _digest_place(blob)) != digest:
            raise ValueError("its checksum does not fit its content")
        return _manifest(text, name), load_tensors(blob)
    except BundleError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError, RecursionError) as cause:
        raise BundleError(
            f"{name} is not a whole kshot file: damaged or cut off ({cause}); fetch or save it again"
        ) from cause


def peek(path: Path) -> dict[str, Any] | None:
    """The manifest of a file without its tensors and without checking it; None for any other file.

    For looking through a folder; `read` what is to be used.
    """
    try:
        with path.open("rb") as file:
            size = file.read(8)
            _, text = _header(size + file.read(min(int.from_bytes(size, "little"), _LARGEST_HEADER)))
            return _manifest(text, str(path))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def replace_file(path: Path, data: bytes) -> Path:
    """Write bytes so that `path` holds either all of them or what it held before."""
    temporary = path.parent / f"{_LEFTOVER}{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as cause:
        _remove(temporary)
        raise BundleError(
            f"{path} cannot be written ({cause.strerror or cause}); {len(data)} bytes are needed, nothing was "
            "changed: free space or choose another place"
        ) from cause
    except BaseException:
        _remove(temporary)
        raise
    return path


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written in `folder`; nobody else may be writing there."""
    for leftover in folder.glob(f"{_LEFTOVER}*"):
        _remove(leftover)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _header(blob: bytes) -> tuple[str, str]:
    """Digest and manifest as they stand in the file."""
    size = int.from_bytes(blob[:8], "little")
    text: str = json.loads(blob[8 : 8 + size])["__metadata__"]["kshot"]
    return text[:64], text[64:]


def _manifest(text: str, name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(text)
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"{name} has format {manifest['format']}; this kshot reads up to {FORMAT}: upgrade kshot to open it"
        )
    return manifest


def _digest_place(blob: bytes) -> int:
    header = 8 + int.from_bytes(blob[:8], "little")
    return blob.index(_KEY, 0, min(header, len(blob))) + len(_KEY)


def _digest(blob: bytes, place: int) -> str:
    """SHA-256 of the file with the 64 digits at `place` set to zero."""
    digest, view = hashlib.sha256(), memoryview(blob)
    for part in (view[:place], _ZERO, view[place + 64 :]):
        digest.update(part)
    return digest.hexdigest()
