"""Randomness is passed in: this is the only place that makes generators from seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kshot.errors import SettingError


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for `seed`; `names` make independent streams from one seed.

    >>> a, b = generator(0, "train"), generator(0, "test")
    >>> bool(torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b)))
    False
    """
    return torch.Generator().manual_seed(derive(seed, *names))


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every name, the same on every machine.

    >>> derive(1, "a") == derive(1, "a"), derive(1, "a") == derive(1, "b")
    (True, False)
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise SettingError(f"seed is {seed!r}; it must be a whole number of at least 0, for example seed=0")
    if not names:
        return seed
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def drawing(device: torch.device, seed: int, *names: str | int) -> Iterator[None]:
    """Inside, layers that draw from torch's own generator (dropout) draw from this seed; after it, it is as before.

    >>> before = torch.get_rng_state()
    >>> with drawing(torch.device("cpu"), 0, "dropout"):
    ...     first = torch.rand(3)
    >>> bool(torch.equal(before, torch.get_rng_state()))
    True
    """
    devices = [device] if device.type in ("cuda", "xpu") else []
    with torch.random.fork_rng(devices, device_type=devices[0].type if devices else "cuda"):
        torch.manual_seed(derive(seed, *names))
        yield
