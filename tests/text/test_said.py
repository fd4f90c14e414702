"""What a support says about where entities are: the judge keeps its say however many texts there are."""

from __future__ import annotations

import pytest
import torch

from kshot.seeds import generator
from kshot.text.said import Seen, solve, weighed


def drawn(texts: int, seed: int = 0) -> list[Seen]:
    """Texts of 4 marked and 150 other spans; the judge's odds tell them apart, what they look like does not."""
    draw = generator(seed, "said")
    parts = []
    for _ in range(texts):
        odds = torch.randn(154, generator=draw) * 2
        odds[:4] += 1.0
        odds[4:] -= 4.0
        marked = torch.zeros(154, dtype=torch.bool)
        marked[:4] = True
        parts.append(Seen(torch.randn(154, 8, generator=draw), odds, marked))
    return parts


@pytest.mark.parametrize("texts", [2, 10, 60])
def test_the_judge_keeps_its_say(texts: int) -> None:
    """Of new spans the marked are told from the others as well as by the judge alone, and about as many are called."""
    where = solve(drawn(texts))
    new = drawn(20, seed=1)
    found = torch.cat([weighed(part.odds, part.vectors, where) for part in new]) > 0
    marked = torch.cat([part.marked for part in new])
    right = int((found & marked).sum())
    assert float(where["weigh"][0]) > 0.5
    assert 2 * right / (int(found.sum()) + int(marked.sum())) > 0.45
