"""A saved task comes in as a file's bytes: checked whole before one of them is believed."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.encoders import Encoder
from kshot.errors import BundleError, DataError, KshotError
from kshot.serving.faults import NotFound, TooLarge
from kshot.serving.service import Service

_MAGIC = b'"__metadata__":{"kshot":"'


def take_in(service: Service, tenant: str, data: bytes, *, key: str | None = None) -> dict[str, Any]:
    """A new model of the examples in a .kshot file of a task, whose base must be served here.

    The base's weights, where the file carries them, are not read. Examples get new ids, in their order, golden ones
    after the others; those that were kept aside stay behind. A retuned task is refused: a model of a service has the
    scalars of its base.

    Raises:
        BundleError: no saved task, damaged, or changed by hand. NotFound: its base is not served.
        TooLarge: its header or its examples are over the limits. DataError: numbers that are not finite.
    """
    manifest, tensors = checked(service, data)
    mark = (key, hashlib.sha256(data).hexdigest()) if key else None
    try:
        name = _base_of(service, manifest)
        read = _inputs(manifest, tensors, service.bases[name].encoder)
        labels, space = list(manifest["targets"]), manifest["space"]
        golden = frozenset[int]()
        if held := manifest.get("golden"):
            own = {n.removeprefix("golden/"): t for n, t in tensors.items() if n.startswith("golden/")}
            guards = _inputs(held, own, service.bases[name].encoder)
            golden = frozenset(range(len(labels), len(labels) + len(guards)))
            labels += list(held["targets"])
            read = service.bases[name].encoder.read([*read, *guards])
        return service.teach_read(tenant, name, read, labels, space=space, mark=mark, golden=golden)
    except KshotError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as cause:
        # the checksum fits, so somebody wrote this file with a program of their own
        raise BundleError(
            f"the posted file makes no sense ({type(cause).__name__}); save the task again"
        ) from cause


def _inputs(manifest: dict[str, Any], tensors: dict[str, Tensor], encoder: Encoder) -> Any:
    items = _items(manifest, tensors)
    if [encoder.digest(item) for item in items] != list(manifest["digests"]):
        raise BundleError("an example of the file does not fit its content hash; save the task again")
    return encoder.read(items)


def checked(service: Service, data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Manifest and tensors of a saved task's bytes, after the checks that need no base.

    Raises:
        BundleError, TooLarge, DataError: as `take_in`.
    """
    if _MAGIC not in data[8:72]:
        raise BundleError(
            f"{len(data)} bytes were sent that are no .kshot file; send the bytes that task.save wrote"
        )
    size = int.from_bytes(data[:8], "little")
    if size > service.limits.header_bytes:
        raise TooLarge(f"the file's header says {size} bytes; at most {service.limits.header_bytes}")
    manifest, tensors = storage.unpack(data, "the posted file")
    if manifest.get("what") != "task":
        raise BundleError(f"the posted file holds a {str(manifest.get('what'))[:40]!r}; send a saved task")
    for name, tensor in tensors.items():
        if name.startswith("base/"):  # never read: the base is our own
            continue
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"tensor {name[:80]!r} of the posted file holds NaN or infinity; every number must be finite"
            )
    return manifest, tensors


def _base_of(service: Service, manifest: dict[str, Any]) -> str:
    wanted = str(manifest["base"]["fingerprint"])
    if "scalars" in manifest:
        raise BundleError(
            f"the task was retuned ({sorted(manifest['scalars'])[:4]}); at_scalars(None) is what is served"
        )
    for name, own in service.fingerprints.items():
        if own == wanted:
            return name
    raise NotFound(
        f"the task's base {str(manifest['base'].get('name'))[:80]!r} ({wanted[:12]}) is not served; rebase the task to one "
        f"of {sorted(service.bases)} before you send it"
    )


def _items(manifest: dict[str, Any], tensors: dict[str, Tensor]) -> list[Any]:
    if manifest["inputs"] == "stacked":
        return list(tensors["inputs"])
    if manifest["inputs"] == "single":
        return [tensors[f"inputs/{place}"] for place in range(len(manifest["ids"]))]
    return list(manifest["inputs"])
