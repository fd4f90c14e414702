"""How much better than expected each step of an episode went: what policy gradients weigh actions by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


@torch.no_grad()
def advantages(
    paid: Float[Tensor, "*tasks steps n"],
    value: Float[Tensor, "*tasks steps n"],
    going: Float[Tensor, "*tasks steps n"] | None = None,
    *,
    decay: float,
    discount: float = 1.0,
) -> Float[Tensor, "*tasks steps n"]:
    """Generalised advantages of n episodes. Schulman et al. (2016), "High-Dimensional Continuous Control Using GAE".

    Args:
        paid: rewards. value: what is expected from each step on; zeros and decay 1 give what was earned from it on.
        going: 1 for steps that count, 0 after the end, where nothing comes; None: all count.

    >>> paid, nothing = torch.tensor([[1.0], [2.0], [4.0]]), torch.zeros(3, 1)
    >>> advantages(paid, nothing, decay=1.0, discount=0.5)[:, 0].tolist()
    [3.0, 4.0, 4.0]
    """
    counts = torch.ones_like(paid) if going is None else going
    found = torch.empty_like(paid)
    after, running = torch.zeros_like(paid[..., 0, :]), torch.zeros_like(paid[..., 0, :])
    for step in reversed(range(paid.shape[-2])):
        now, here = value[..., step, :], counts[..., step, :]
        running = (paid[..., step, :] + discount * (after + decay * running) - now) * here
        after = now * here
        found[..., step, :] = running
    return found
