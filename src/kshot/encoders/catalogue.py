"""Encoders that are there and that could be had; getting one downloads it, and only when asked.

`get` is the one place of kshot that calls `torch.load`, and only on a file that it has just fetched itself, over
HTTPS, from the address that the installed torchvision names, whose SHA-256 begins as torchvision's file name says.
So the bytes are never the user's, and they are read with `weights_only=True`. The hash in the name is 8 hexadecimal
digits: enough to notice a damaged or wrong file; that the file is the right one rests on HTTPS, as in torch.hub.
What is kept is a safetensors file.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from kshot.encoders.torchvision_models import model_names
from kshot.errors import DataError, MissingExtraError, SettingError, need

BUILT_IN = ("conv4", "resnet12", "mlp", "identity", "pixels")
_PART = 1 << 20

Progress = Callable[[int, int], None]
"""Called with bytes received and bytes in all (0: unknown)."""


@dataclass(frozen=True)
class Entry:
    """An encoder by name.

    Attributes:
        state: "built in" (trained by you), "downloaded" or "available" (`kshot get NAME`).
        parameters: numbers in it; None where its settings decide. megabytes: of the download or the file.
        path: of the weights; None where there are none here. source: where they come from.
    """

    name: str
    state: str
    parameters: int | None = None
    megabytes: float | None = None
    path: str | None = None
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Source:
    """Official weights: their address, and the first digits of their SHA-256."""

    url: str
    prefix: str
    parameters: int | None = None
    megabytes: float | None = None


def home() -> Path:
    """The folder of downloaded encoders: `encoders` in KSHOT_HOME, or in ~/.cache/kshot."""
    root = os.environ.get("KSHOT_HOME")
    return (Path(root) if root else Path.home() / ".cache" / "kshot") / "encoders"


def listing() -> list[Entry]:
    """What is built in, downloaded and available, in this order. Asks no network.

    >>> listing()[0].name, listing()[0].state
    ('conv4', 'built in')
    """
    built = [Entry(name, "built in") for name in BUILT_IN]
    try:
        names = model_names()
    except MissingExtraError:
        return built
    here = [_downloaded(name) for name in names if _place(name).is_file()]
    return [*built, *here, *[_available(name) for name in names if not _place(name).is_file()]]


def stored(name: str) -> Path:
    """The weights that `get` has stored. Raises DataError where there are none."""
    if not _place(name).is_file():
        raise DataError(f"weights of {name!r} are not in {home()}; get them once with: kshot get {name}")
    return _place(name)


def get(name: str, *, progress: Progress | None = None) -> Entry:
    """Download the weights of a torchvision model, check their hash, and keep them as safetensors.

    Args:
        name: as in `listing()`; weights that are there already are not fetched again.

    Raises:
        SettingError: no such name, or one without weights to be had.
        DataError: no network, a hash that does not fit, a full disk; nothing is kept.
    """
    if name in BUILT_IN:
        raise SettingError(
            f"{name} is built in and has no weights to get; train it with: kshot train --encoder {name}"
        )
    if name not in model_names():
        raise SettingError(f"{name!r} is not in the catalogue; see its names with: kshot encoders")
    if not _place(name).is_file():
        source = official(name)
        data = fetch(source, progress)
        _write(_place(name), _converted(data, source))
    return _downloaded(name)


def official(name: str) -> Source:
    """Where torchvision says the default weights of a model are."""
    weights = need("torchvision.models", "vision").get_model_weights(name)
    best: Any = getattr(weights, "DEFAULT", None)
    found = re.search(r"-([0-9a-f]{8,64})\.pth$", getattr(best, "url", ""))
    if found is None:
        raise SettingError(
            f"torchvision names no weights with a hash for {name!r}; choose another, see kshot encoders"
        )
    return Source(best.url, found[1], best.meta.get("num_params"), best.meta.get("_file_size"))


def fetch(source: Source, progress: Progress | None = None) -> bytes:
    """The bytes at `source.url`, given back only if their SHA-256 begins with `source.prefix`.

    Raises:
        DataError: they cannot be fetched, or are not what was promised.
    """
    try:
        with urllib.request.urlopen(source.url, timeout=60) as answer:
            data = _received(answer, int(answer.headers.get("Content-Length") or 0), progress)
    except (urllib.error.URLError, OSError, ValueError) as cause:
        raise DataError(
            f"{source.url} cannot be fetched ({cause}); check the network, or put a safetensors file with the weights "
            "on this machine and name it with pretrained="
        ) from cause
    digest = hashlib.sha256(data).hexdigest()
    if not source.prefix or not digest.startswith(source.prefix):
        raise DataError(
            f"{source.url} has SHA-256 {digest[:16]}..., not {source.prefix or 'any known'}...; nothing was kept: try "
            "again, and if it stays so, do not trust that file"
        )
    return data


def _received(answer: Any, total: int, progress: Progress | None) -> bytes:
    data = io.BytesIO()
    while part := answer.read(_PART):
        data.write(part)
        if progress is not None:
            progress(data.tell(), total)
    return data.getvalue()


def _converted(data: bytes, source: Source) -> bytes:
    """Official, hash-checked bytes as safetensors. See the top of this file for why `torch.load` may read them."""
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise DataError(f"{source.url} holds no plain table of tensors; nothing was kept")
    tensors = {str(k): v.detach().contiguous().clone() for k, v in found.items()}
    return save(tensors, {"source": source.url, "sha256": hashlib.sha256(data).hexdigest()})


def _write(path: Path, data: bytes) -> None:
    """All bytes or nothing."""
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
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise DataError(
            f"{path} cannot be written ({cause.strerror or cause}); {len(data)} bytes are needed, nothing was kept: free "
            "space, or set KSHOT_HOME to another folder"
        ) from cause


def _place(name: str) -> Path:
    return home() / f"{name}.safetensors"


def _downloaded(name: str) -> Entry:
    path = _place(name)
    with safe_open(path, "pt") as file:
        source = (file.metadata() or {}).get("source")
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118  no mapping
    count = sum(torch.Size(shape).numel() for shape in shapes)
    return Entry(name, "downloaded", count, round(path.stat().st_size / 2**20, 1), str(path), source)


def _available(name: str) -> Entry:
    try:
        source = official(name)
    except SettingError:
        return Entry(name, "available")
    return Entry(name, "available", source.parameters, source.megabytes, None, source.url)
