"""Gittins' index for a fixed number of pulls, computed.

Gittins (1979), "Bandit Processes and Dynamic Allocation Indices"; with a fixed number of pulls left: Bradt, Johnson
and Karlin (1956), Kaufmann (2018), "On Bayesian index policies for sequential resource allocation". The index of an
arm is the sure payment for each pull at which one would be indifferent between it and the arm, if the arm may be
given up for it at any time. It is found by dynamic programming over all that the arm may show.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from kshot.control.bandits import Bandits, Counts, Index

_RATES = 401
"""Sure payments that are tried for Bernoulli arms; between two of them the index is interpolated."""


def gittins(bandits: Bandits) -> Index:
    """Gittins' index for the pulls of `bandits`; computing it takes seconds for 100 pulls, once.

    >>> rng = torch.Generator().manual_seed(0)
    >>> bandits = Bandits(2, 5)
    >>> known = Counts(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]]), left=4)
    >>> worth = gittins(bandits)(bandits, known, rng)
    >>> bool(worth[0, 0] > worth[0, 1])
    True
    """
    table = _bernoulli(bandits.pulls) if bandits.rewards == "bernoulli" else _gaussian(bandits.pulls)
    known_table = torch.as_tensor(table)

    def index(given: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
        pulled = known.count.long()
        if given.rewards == "gaussian":
            return given.posterior(known.count, known.total)[0] + known_table[known.left, pulled]
        won = known.total.long()
        return known_table[known.left, won, pulled - won]

    return index


@lru_cache(maxsize=8)
def _bernoulli(pulls: int) -> np.ndarray:
    """Index by pulls left, wins and losses, [pulls + 1, pulls, pulls].

    W(left, wins, losses; rate) = max(0, p - rate + p W(left - 1, wins + 1, losses) + (1 - p) W(left - 1, wins,
    losses + 1)): the most that an arm is worth above the sure rate. The index is the rate where pulling is worth 0.
    """
    rates = np.linspace(0, 1, _RATES)
    wins, losses = np.indices((pulls, pulls))
    chance = ((wins + 1) / (wins + losses + 2))[..., None]
    worth = np.zeros((pulls + 1, pulls + 1, _RATES))
    table = np.zeros((pulls + 1, pulls, pulls), dtype=np.float32)
    for left in range(1, pulls + 1):
        # an arm seen more often than pulls have been made cannot be met
        n = pulls - left + 1
        p = chance[:n, :n]
        pull = p - rates + p * worth[1 : n + 1, :n] + (1 - p) * worth[:n, 1 : n + 1]
        table[left, :n, :n] = _root(pull, rates)
        worth = np.zeros((n + 1, n + 1, _RATES))
        worth[:n, :n] = pull.clip(0)
    return table


def _root(falling: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where functions of `at`, [..., points], which fall, pass through 0."""
    place = (falling > 0).sum(-1).clip(1, len(at) - 1)
    high = np.take_along_axis(falling, place[..., None] - 1, -1)[..., 0]
    low = np.take_along_axis(falling, place[..., None], -1)[..., 0]
    share = np.divide(high, high - low, out=np.zeros_like(high), where=high > low).clip(0, 1)
    return np.asarray(at[place - 1] + share * (at[place] - at[place - 1]))


@lru_cache(maxsize=8)
def _gaussian(pulls: int) -> np.ndarray:
    """What is added to the posterior mean, by pulls left and pulls made, [pulls + 1, pulls + 1].

    A sure rate only shifts the mean, so W depends on d = mean - rate alone. A pull moves the mean by
    N(0, v_c - v_{c+1}) with v_c = 1 / (c + 1).
    """
    # the index of a fresh arm is under 3 standard deviations for any number of pulls that one would wait for
    grid = np.linspace(-6, 6, 481)
    # evenly spaced: what is integrated has a kink, where Gauss' rule is poor
    nodes = np.linspace(-5, 5, 81)
    weights = np.exp(-(nodes**2) / 2)
    weights = weights / weights.sum()
    moves = np.sqrt(1 / (np.arange(pulls + 1) + 1) - 1 / (np.arange(pulls + 1) + 2))
    worth = np.zeros((pulls + 2, len(grid)))
    table = np.zeros((pulls + 1, pulls + 1), dtype=np.float32)
    for left in range(1, pulls + 1):
        now = np.zeros_like(worth)
        for count in range(pulls - left + 1):
            ahead = grid[:, None] + moves[count] * nodes
            # beyond the grid the arm is pulled to the end
            later = np.interp(ahead, grid, worth[count + 1])
            later = np.where(ahead > grid[-1], ahead * (left - 1), later)
            pull = grid + later @ weights
            table[left, count] = -np.interp(0.0, pull, grid)
            now[count] = pull.clip(0)
        worth = now
    return table
