"""The contract of an encoder."""

from __future__ import annotations

import copy
import json
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from kshot.encoders import Encoder
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Embedded
from kshot.testing.claims import claim, same


def check_encoder(encoder: Encoder, inputs: Any) -> None:
    """Run the contract of `kshot.encoders.Encoder` on an encoder of your own.

    Args:
        encoder: copies of it are used, itself stays as it is.
        inputs: at least two inputs, as a user would give them.

    Raises:
        AssertionError: a rule is broken; the sentence says which.

    >>> import torch, kshot
    >>> check_encoder(kshot.encoders.mlp(2, (4,)), torch.rand(3, 2))
    """
    own = copy.deepcopy(encoder)
    count = len(inputs)
    claim(count >= 2, f"{count} inputs were given; this check needs at least two")
    random = torch.get_rng_state()
    read = own.read(inputs)
    claim(len(read) == count, f"{count} inputs were read as {len(read)}")
    features = _features(own, read)
    _features_are_sound(own, read, features)
    claim(same(features, _features(own, own.read(read))), "reading what was read gives other features")
    claim(torch.equal(random, torch.get_rng_state()), "encoding in eval mode drew from global random state")
    profile = own.profile(_prepared(own, read))
    claim(
        profile.ndim == 2 and len(profile) == count,
        f"profile has shape {tuple(profile.shape)}, not [{count}, ...]",
    )
    digests = [own.digest(item) for item in read]
    claim(
        digests == [own.digest(item) for item in own.read(inputs)],
        "the digest of one input changes between calls",
    )
    _identity(own, read, features)


def _features(encoder: Encoder, read: Any) -> Embedded:
    with torch.no_grad(), evaluating(encoder):
        out: Embedded = encoder(_prepared(encoder, read))
    return out


def _prepared(encoder: Encoder, read: Any) -> Any:
    """In the network's form, on the encoder's device, as a learner gives it."""
    own = next(chain(encoder.parameters(), encoder.buffers()), None)
    given = encoder.prepare(read)
    return given if own is None else tree.tree_map(lambda x: x.to(own.device), given)


def _features_are_sound(encoder: Encoder, read: Any, features: Embedded) -> None:
    """Shape, finiteness, no change of what was read, and no company. What a map or a row of units needs beside its
    features stands with them."""
    claim(len(features) == len(read), f"{len(read)} inputs have {len(features)} features")
    for item in features:
        shape = tuple(item.shape)
        units = isinstance(features, list) and len(shape) == 2 and shape[1] >= encoder.features
        maps = len(shape) == 3 and shape[0] >= encoder.features
        claim(
            shape[-1] == encoder.features or maps or units,
            f"features of an input have shape {shape}; they must be [..., {encoder.features}], maps, or rows of units",
        )
        claim(bool(torch.isfinite(item).all()), "features hold NaN or infinite values")
    before = read.clone() if isinstance(read, Tensor) else list(read)
    encoder.prepare(read)
    claim(same(before, read), "prepare changed what was read in place")
    for place, item in enumerate(features):
        alone = _features(encoder, read[place : place + 1])[0]
        gap = float((alone - item).abs().max())
        claim(
            gap <= 1e-4 * max(1.0, float(item.abs().max())),
            f"in eval mode features change by {gap:.3g} with the company in the batch",
        )


def _identity(encoder: Encoder, read: Any, features: Embedded) -> None:
    """The configuration is JSON and rebuilds the encoder; the fingerprint tells encoders apart."""
    config = json.loads(json.dumps(encoder.config()))
    again = type(encoder)(**config)
    claim(again.config() == config, f"config() is {config}; an encoder made from it says {again.config()}")
    again.load_state_dict(encoder.state_dict())
    again = again.to(features[0])
    claim(
        again.fingerprint() == encoder.fingerprint(),
        "the same configuration and weights have another fingerprint",
    )
    claim(same(features, _features(again, read)), "the same configuration and weights give other features")
    weight = next(again.parameters(), None)
    if weight is not None:
        with torch.no_grad():
            weight.add_(1.0)
        claim(
            again.fingerprint() != encoder.fingerprint(), "a changed weight leaves the fingerprint as it was"
        )
