"""The best that can be done in a room whose goal cannot be seen: exactly, by dynamic programming over beliefs.

Until the goal is found nothing is learned but where it is not, so what one believes is the set of cells that were
visited, and the best way to look is one fixed walk; once it is found the rest is known. The value is the mean over
goals of what finding each at its time earns. Walks are extended step by step; of those with the same visited
cells and the same end the best is kept, and whatever even a bound on the rest cannot bring above the best known walk
is dropped. A walk that reaches the bound at once, as a round trip through all cells of `dark_room()` does, needs no
search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kshot.control.places import WAYS, GoalRooms
from kshot.errors import UnsupportedError

BEAM = 2000
"""Walks kept while a good one is looked for, before the exact search."""

BITS = 62
"""Goals at most, each a bit of what was visited."""

ROOM = 2_000_000
"""Beliefs that are held at once at most."""


class Seeking(NamedTuple):
    """The best mean return of an episode before the goal is known, and a walk that earns it: moves, [horizon]."""

    value: float
    moves: np.ndarray


@dataclass(frozen=True)
class _Beliefs:
    """Visited goals as bits, places, what is earned so far; and for each where it came from."""

    visited: np.ndarray
    place: np.ndarray
    earned: np.ndarray
    parent: np.ndarray
    move: np.ndarray


def best_seeking(room: GoalRooms) -> Seeking:
    """The Bayes-optimal return in a room, and a way to look for the goal that earns it.

    Raises:
        UnsupportedError: more goals or beliefs than can be held.

    >>> from kshot.control import dark_room
    >>> round(best_seeking(dark_room()).value, 6)
    50.5
    """
    game = _Game(room)
    found = game.round_trip()
    if found is None or found.value < game.bound() - 1e-9:
        if len(game.cells) > BITS:
            raise UnsupportedError(
                f"the room has {len(game.cells)} goals; exactly solved are rooms of at most {BITS}"
            )
        start = -np.inf if found is None else found.value
        rough = game.search(start, keep=BEAM)
        good = rough if found is None or rough.value > found.value else found
        better = game.search(good.value, keep=None)
        found = better if better.value > good.value else good
    return found


class _Game:
    """Tables of one room: gains[step, goal] of finding a goal at a step, over never finding it."""

    def __init__(self, room: GoalRooms) -> None:
        self.room, self.length = room, room.horizon // room.lives
        self.cells = room.goals().numpy()
        size = room.size
        number = np.full(size * size, -1)
        number[self.cells[:, 0] * size + self.cells[:, 1]] = np.arange(len(self.cells))
        self.number = number
        grid = np.stack(np.divmod(np.arange(size * size), size), 1)
        to = (grid[:, None] + WAYS.numpy()).clip(0, size - 1)
        self.to = to[..., 0] * size + to[..., 1]
        self.gains = self._gains()
        # the most that any goal of each rank can add at each step, for the bound
        self.order = np.argsort(self.cells.sum(1), kind="stable")

    def _gains(self) -> np.ndarray:
        room, length = self.room, self.length
        step = np.arange(room.horizon)[:, None]
        far = np.maximum(self.cells.sum(1), 1)[None]
        again = np.where(far <= length, room.miss * (far - 1) + length - far + 1, room.miss * length)
        lives_after = room.lives - 1 - step // length
        here = room.miss * step + length - step % length
        gains: np.ndarray = here + lives_after * again - room.miss * room.horizon
        return gains

    def bound(self, visited: np.ndarray | None = None, step: int = 0) -> np.ndarray | float:
        """At most one new goal is found a step, the nearest ones first: no walk adds more, summed over goals."""
        alone = visited is None
        masks = np.zeros(1, dtype=np.int64) if visited is None else visited
        total, rank = np.zeros(len(masks)), np.full(len(masks), step)
        for goal in self.order:
            open_ = (masks >> goal) & 1 == 0
            at = np.minimum(rank, self.room.horizon - 1)
            total += np.where(open_ & (rank < self.room.horizon), self.gains[at, goal], 0)
            rank = rank + open_
        return self._mean(float(total[0])) if alone else total

    def _mean(self, gained: float) -> float:
        return gained / len(self.cells) + self.room.miss * self.room.horizon

    def round_trip(self) -> Seeking | None:
        """One walk through all cells and back to the start, in a room of even size with a life long enough."""
        size = self.room.size
        if size % 2 or self.length < size * size:
            return None
        comb = [move for row in range(size) for move in [1 if row % 2 == 0 else 3] * (size - 2) + [2]][:-1]
        moves = [1, *comb, *[3], *[0] * (size - 1)]
        moves += [4] * (self.length - len(moves))
        walk = np.array(moves * self.room.lives)
        return Seeking(self._mean(self._walked(walk)), walk)

    def _walked(self, moves: np.ndarray) -> float:
        place, seen, total = 0, set(), 0.0
        for step, move in enumerate(moves):
            place = int(self.to[place, move])
            goal = int(self.number[place])
            if goal >= 0 and goal not in seen:
                seen.add(goal)
                total += float(self.gains[step, goal])
            place = 0 if (step + 1) % self.length == 0 else place
        return total

    def search(self, known: float, keep: int | None) -> Seeking:
        """The best walk; with `keep` only so many are followed, and it may be missed."""
        least = (known - self.room.miss * self.room.horizon) * len(self.cells)
        zero = np.zeros(1, dtype=np.int64)
        layers = [_Beliefs(zero, zero, np.zeros(1), zero, zero)]
        for step in range(self.room.horizon):
            after = self._extended(layers[-1], step)
            top = after.earned + self.bound(after.visited, step + 1)
            chosen = np.flatnonzero(top > least + 1e-9)
            if keep is not None and len(chosen) > keep:
                chosen = chosen[np.argpartition(-top[chosen], keep)[:keep]]
            if len(chosen) > ROOM:
                raise UnsupportedError(
                    f"{len(chosen)} beliefs after {step + 1} steps; this room is too large to solve"
                )
            if not len(chosen):
                return Seeking(-np.inf, np.zeros(0, dtype=np.int64))
            layers.append(_Beliefs(*(column[chosen] for column in vars(after).values())))
        return self._traced(layers)

    def _extended(self, now: _Beliefs, step: int) -> _Beliefs:
        parent, move = (a.ravel() for a in np.indices((len(now.place), len(WAYS))))
        place = self.to[now.place[parent], move]
        goal = self.number[place]
        bit = np.where(goal >= 0, np.int64(1) << np.maximum(goal, 0), 0)
        new = (now.visited[parent] & bit) != bit
        earned = now.earned[parent] + np.where(new, self.gains[step, np.maximum(goal, 0)], 0)
        visited = now.visited[parent] | bit
        if (step + 1) % self.length == 0:
            place = np.zeros_like(place)
        order = np.lexsort((-earned, place, visited))
        first = np.ones(len(order), dtype=bool)
        first[1:] = (np.diff(visited[order]) != 0) | (np.diff(place[order]) != 0)
        best = order[first]
        return _Beliefs(visited[best], place[best], earned[best], parent[best], move[best])

    def _traced(self, layers: list[_Beliefs]) -> Seeking:
        at, moves = int(layers[-1].earned.argmax()), []
        value = self._mean(float(layers[-1].earned[at]))
        for layer in reversed(layers[1:]):
            moves.append(int(layer.move[at]))
            at = int(layer.parent[at])
        return Seeking(value, np.array(moves[::-1]))
