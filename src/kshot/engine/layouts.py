"""Where the channels of images lie in memory. It changes how fast a network is, and the last bits of its answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def lay_out(module: nn.Module, layout: str) -> None:
    """Put the weights of two-dimensional convolutions in this order, in place; their numbers stay as they are."""
    for parameter in module.parameters():
        if parameter.ndim == 4 and not parameter.is_contiguous(memory_format=LAYOUTS[layout]):
            parameter.data = parameter.data.contiguous(memory_format=LAYOUTS[layout])


def laid_out(task: Any, layout: str) -> Any:
    """A tree of tensors with its images [n, channels, height, width] in this order.

    >>> laid_out(torch.zeros(2, 1, 3, 3), "channels_last").stride()
    (9, 1, 3, 1)
    """
    return tree.tree_map(lambda leaf: _image(leaf, layout), task)


def _image(leaf: Any, layout: str) -> Any:
    if not isinstance(leaf, Tensor) or leaf.ndim != 4:
        return leaf
    # with one channel both orders are the same bytes, and only the strides tell torch which is meant
    return leaf.to(memory_format=LAYOUTS[layout]) if layout == "channels_last" else leaf.contiguous()


def has_images(module: nn.Module, task: Any) -> bool:
    """Does a layout make a difference: are there images, and weights of convolutions?"""
    return any(p.ndim == 4 for p in module.parameters()) and any(
        isinstance(leaf, Tensor) and leaf.ndim == 4 for leaf in tree.tree_leaves(task)
    )
