"""What a head need not compute again where only some of its examples are new."""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.heads.head import Before, class_means


def products_after(before: Before, features: Tensor) -> Tensor:
    """Inner products [n, n] of features [n, d]: those of pairs that were there before out of `state["products"]`.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> before = Before({"products": torch.tensor([[2.0]])}, torch.tensor([0]), torch.tensor([-1, 0]))
    >>> products_after(before, x).tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    """
    place = before.rows.clamp(min=0)
    found: Tensor = before.state["products"].index_select(0, place).index_select(1, place)
    new = (before.rows < 0).nonzero().squeeze(1)
    if len(new):
        own = features[new] @ features.T
        found[new] = own
        found[:, new] = own.T
    return found


def means_after(before: Before, features: Tensor, targets: Tensor, size: int) -> Tensor:
    """Class means [size, d] of features [n, d]: those of classes with the same examples out of `state["prototypes"]`.

    Examples that were there before are of the classes that they were of, though these may have other indices now.
    """
    there = before.rows >= 0
    was = before.targets[before.rows[there]]
    owner = torch.full((size,), -1, dtype=torch.int64, device=targets.device)
    owner[targets[there]] = was
    counts = torch.bincount(before.targets, minlength=len(before.state["prototypes"]))
    now, stayed = torch.bincount(targets, minlength=size), torch.bincount(targets[there], minlength=size)
    same = (owner >= 0) & (now == stayed) & (stayed == counts[owner])
    means: Tensor = before.state["prototypes"].index_select(0, owner.clamp(min=0))
    touched = ~same[targets]
    if bool(touched.any()):
        place = (~same).cumsum(0) - 1
        means[~same] = class_means(features[touched], place[targets[touched]], int((~same).sum()))
    return means.masked_fill_((now == 0).unsqueeze(1), 0.0) if bool((now == 0).any()) else means
