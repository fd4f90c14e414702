"""From a pool to tasks fit for training: in memory where it fits, streamed from disk where it does not."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from kshot.commandline.output import say
from kshot.data import Episodes, Flat, Pool, Streamed
from kshot.encoders import Encoder, ImageEncoder
from kshot.tasks import NWayKShot, TaskSource
from kshot.vision import CentreCrop, TrainingCrop

_MEMORY = 1 << 30
"""Bytes of pictures that are kept in memory; more are streamed from disk."""


def channels_of(pool: Pool) -> int:
    """1 where the first picture is grey, 3 where it is in colour."""
    first: Any = pool.inputs[0]
    colour = isinstance(first, Tensor) and first.ndim == 3 and 3 in (first.shape[0], first.shape[-1])
    return 3 if colour else 1


def task_source(
    pool: Pool, sampler: NWayKShot | int, encoder: Encoder, *, training: bool = False
) -> TaskSource:
    """Tasks of `pool`, fit for `encoder`; for a number instead of a sampler, batches of so many examples.

    Colour photographs are cropped, mirrored and streamed from disk for training, and cut to their centre
    for judging; other pictures are read once if they fit in memory at the encoder's size.
    """
    make: Any = (
        partial(Flat, batch=sampler) if isinstance(sampler, int) else partial(Episodes, sampler=sampler)
    )
    if pool.in_memory or not isinstance(encoder, ImageEncoder):
        return make(pool)  # type: ignore[no-any-return]
    if encoder.channels == 3 and training:
        say("Photographs: random crops and mirroring, read by worker processes while it trains.")
        return Streamed(make(pool, transform=TrainingCrop(encoder.size, scale=(0.25, 1.0))))
    needed = len(pool) * encoder.channels * encoder.size**2
    if needed <= _MEMORY:
        return make(Pool(_load(pool, encoder), _labels(pool), pool.name))  # type: ignore[no-any-return]
    say(f"{len(pool):,} pictures need {needed / 2**30:.1f} GiB of memory, so they are streamed from disk.")
    return Streamed(make(pool, transform=CentreCrop(encoder.size) if encoder.channels == 3 else None))


def _load(pool: Pool, encoder: ImageEncoder) -> Tensor:
    """All pictures at the encoder's size, uint8 [n, channels, size, size]."""
    places = range(len(pool))
    if encoder.channels == 3:
        crop = CentreCrop(encoder.size)
        return torch.cat([crop([pool.inputs[place]]) for place in places])
    grey = (encoder.fitted(encoder.read([pool.inputs[place]])) for place in places)
    return torch.cat([(x.clamp(0, 1) * 255).round().to(torch.uint8) for x in grey])


def _labels(pool: Pool) -> list[Any]:
    return [pool.classes[int(target)] for target in pool.targets]
