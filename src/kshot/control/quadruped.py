"""How a model of dynamics sees a robot of four legs: from its own heading, with its feet, and in eight mirror images.

Where a robot faces does not matter to physics, so a model need not learn each direction anew: observations and changes are
turned until the robot faces ahead, one transition at a time. What pushes it is feet that touch the ground, and how high a
foot is a network would first have to make out of turns and angles: it is told. And a robot of four equal legs moves
alike whichever of them is called the first, so each transition that was lived tells of eight. Worked out by hand, and
exact: van der Pol et al. (2020), "MDP Homomorphic Networks", has the general idea.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = 27
"""Of an observation: height, quaternion, 8 angles, velocity, angular velocity, 8 speeds; hip and ankle of each leg."""
TORSO = (*range(5), *range(13, 19))
"""Those of the torso: an observation's others are angles and speeds of joints."""
W, Z, VELOCITY = 1, 4, 13
"""Places of w and z of the quaternion, and of the velocity along x."""
ONE, OTHER = (W, 2, VELOCITY), (Z, 3, 14)
"""What turns with what: w with z and x with y of the quaternion, the velocity along x with that along y."""
Turn = tuple[Tensor, Tensor]
"""How much of each number stays, and how much comes of its partner's, [27, n] each."""
NEAR = 0.03
"""Metres in which the ground becomes felt."""


@dataclass(frozen=True)
class Quadruped:
    """A torso and four legs like gymnasium's Ant: a hip that turns about the vertical and an ankle that bends.

    Args:
        hip: from the middle of the torso to each hip, along each axis, metres. upper, lower: of a leg, along each axis.
        foot: radius of a leg. bends: of each ankle, whether larger angles bend it down (1) or up (-1). motors: for each
            action the place of its joint.
        torso: how many times as exact as of joints models are to be of the torso, which plans are judged by.

    >>> view = Quadruped()
    >>> seen = torch.zeros(1, 27)
    >>> seen[:, [1, 13]] = torch.tensor([2 ** -0.5, 1.0])  # half of a quaternion; it moves along the x axis
    >>> seen[:, 4] = 2 ** -0.5  # and faces along the y axis
    >>> [round(x, 2) for x in view.of(seen)[0, 13:15].tolist()]  # so it moves to its right
    [0.0, -1.0]
    """

    hip: float = 0.2
    upper: float = 0.2
    lower: float = 0.4
    foot: float = 0.08
    bends: tuple[int, ...] = (1, -1, -1, 1)
    motors: tuple[int, ...] = (6, 7, 0, 1, 2, 3, 4, 5)
    torso: float = 2.0

    @property
    def numbers(self) -> int:
        """How many a model sees."""
        return NUMBERS + 3 * len(self.bends)

    @property
    def trust(self) -> tuple[float, ...]:
        """How exact a model is to be of each number of an observation."""
        return tuple(self.torso if place in TORSO else 1.0 for place in range(NUMBERS))

    def of(self, seen: Tensor) -> Tensor:
        """What a model sees of observations [..., 27], [..., numbers]: turned, heights of feet and knees, and how near
        the ground each foot is."""
        columns = _columns(seen)
        return _rows(self.felt(self.turned(columns, self.turn(columns))), seen)

    def change(self, seen: Tensor, change: Tensor) -> Tensor:
        """Changes [..., 27] of these observations, as the robot sees them from its heading before."""
        return _rows(self.turned(_columns(change), self.turn(_columns(seen))), change)

    def back(self, seen: Tensor, change: Tensor) -> Tensor:
        """The inverse of `change`."""
        return _rows(self.turned(_columns(change), self.turn(_columns(seen)), -1), change)

    def turn(self, columns: Tensor) -> Turn:
        """What turns observations, and changes from them, until the robot faces ahead. This and what follows is for plans,
        which call it a dozen times a step: few operations, on columns [27, n], where a number of all robots lies together."""
        fixed = _fixed(self, columns.dtype, columns.device)
        # cosine and sine of half the heading, once of length 1; leaning is left out
        half = columns[W : Z + 1 : Z - W]
        half = half / torch.hypot(half[:1], half[1:]).clamp_(min=1e-6)
        both = torch.addmm(fixed.bias, fixed.turns, torch.cat([half, half * half[1:]]))
        return both[:NUMBERS], both[NUMBERS:]

    def turned(self, columns: Tensor, turn: Turn, way: int = 1) -> Tensor:
        """Observations or changes turned back by a heading, [27, n], or, where way is -1, to it."""
        partners = _fixed(self, columns.dtype, columns.device).partners @ columns
        return torch.addcmul(columns * turn[0], partners, turn[1], value=way)

    def felt(self, ahead: Tensor) -> Tensor:
        """What `of` says, of turned observations [27, n], so z of the quaternion is 0, [numbers, n]."""
        fixed = _fixed(self, ahead.dtype, ahead.device)
        # sines and cosines of where each leg points and of how far its ankle bends down: cos x is sin (x + quarter)
        angles = torch.addmm(fixed.start, fixed.angles, ahead).sin_()
        sin, cos, down, on = angles[:4], angles[4:8], angles[8:12], angles[12:]
        tilt = ahead[2:4]
        # how far up the torso's axes point, z of the world in the torso's frame: (-lean, roll, upright)
        both = tilt * (2 * ahead[1:2])
        roll, lean, upright = both[:1], both[1:], 1 - 2 * tilt.square().sum(0)
        out = torch.addcmul(roll * sin, lean, cos, value=-1)  # a metre out along each leg
        hips = torch.addcmul(torch.addcmul(ahead[:1], roll, fixed.north), lean, fixed.east, value=-1)
        knees = torch.add(hips, out, alpha=self.upper * math.sqrt(2))
        low = self.lower * math.sqrt(2)
        feet = torch.addcmul(torch.addcmul(knees, on, out, value=low), down, upright, value=-low)
        near = (self.foot / NEAR - feet / NEAR).clamp_(max=1).exp_()
        return torch.cat([ahead, feet, knees, near])

    def transitions(
        self, inputs: Tensor, changes: Tensor, parameters: Tensor, mirrored: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions as a model sees them: inputs [..., 27 + joints], changes [..., 27], parameters [..., n], strengths
        of motors first.

        Args:
            mirrored: of n rows [n, ...], each eighth in another of the mirror images.
        """
        seen, actions = inputs[..., :NUMBERS], inputs[..., NUMBERS:]
        columns = _columns(seen)
        turn = self.turn(columns)
        seen = _rows(self.turned(columns, turn), seen)
        changes = _rows(self.turned(_columns(changes), turn), changes)
        if mirrored:
            cut = [rows.tensor_split(len(self.images)) for rows in (seen, actions, changes, parameters)]
            images = [self._image(place, *(rows[place] for rows in cut)) for place in range(len(self.images))]
            seen, actions, changes, parameters = (torch.cat(rows) for rows in zip(*images, strict=True))
        return torch.cat([_rows(self.felt(_columns(seen)), seen), actions], -1), changes, parameters

    def _image(
        self, which: int, seen: Tensor, actions: Tensor, changes: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One mirror image: a strength stays one where its motor pulls the other way."""
        state, motors = self.images[which]
        count = len(motors)
        strength = parameters[..., :count] @ motors.abs().T
        told = torch.cat([strength, parameters[..., count:]], -1)
        return seen @ state.T, actions @ motors.T, changes @ state.T, told

    @cached_property
    def images(self) -> list[tuple[Tensor, Tensor]]:
        """The eight, each a map of turned observations [27, 27] and one of actions [8, 8]: signed permutations."""
        quarter, mirror = self._quarter(), self._mirror()
        found, now = [], torch.eye(NUMBERS)
        for _ in range(4):
            found += [now, now @ mirror]
            now = now @ quarter
        joints = torch.eye(8)[list(self.motors)]  # what each action does to each joint, transposed
        return [(state, joints @ state[5:13, 5:13] @ joints.T) for state in found]

    def _quarter(self) -> Tensor:
        """A quarter turn of the body, its legs called by the next number."""
        state = torch.zeros(NUMBERS, NUMBERS)
        for place in (0, 1, 4, 15, 18):
            state[place, place] = 1
        for x in (2, 13, 16):
            state[x, x + 1], state[x + 1, x] = -1, 1
        return self._legs(state, lambda leg: (leg - 1) % 4, 1)

    def _mirror(self) -> Tensor:
        """Left and right exchanged: what turns, turns the other way."""
        signs = {0: 1, 1: 1, 2: -1, 3: 1, 4: -1, 13: 1, 14: -1, 15: 1, 16: -1, 17: 1, 18: -1}
        state = torch.zeros(NUMBERS, NUMBERS)
        for place, sign in signs.items():
            state[place, place] = sign
        return self._legs(state, lambda leg: 3 - leg, -1)

    def _legs(self, state: Tensor, source: Callable[[int], int], turn: int) -> Tensor:
        """Fill in the joints: each leg is what leg `source` was, its hip turning as `turn` says."""
        for leg in range(4):
            other = source(leg)
            for first in (5, 19):
                state[first + 2 * leg, first + 2 * other] = turn
                state[first + 2 * leg + 1, first + 2 * other + 1] = self.bends[leg] * self.bends[other]
        return state


def _columns(rows: Tensor) -> Tensor:
    """[..., numbers] to [numbers, n]: a view."""
    return rows.reshape(-1, rows.shape[-1]).T


def _rows(columns: Tensor, like: Tensor) -> Tensor:
    """The inverse, where the first axes are those of `like`."""
    return columns.T.reshape(*like.shape[:-1], len(columns))


class _Fixed(NamedTuple):
    """Numbers that do not change, made once.

    turns, bias: from (cos, sin, cos sin, sin sin) of half a heading to what stays and what comes of a partner. partners:
    whose number comes, and with which sign. angles, start: from observations to angles of legs. east, north: of hips.
    """

    turns: Tensor
    bias: Tensor
    partners: Tensor
    angles: Tensor
    start: Tensor
    east: Tensor
    north: Tensor


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _fixed(view: Quadruped, dtype: torch.dtype, device: torch.device) -> _Fixed:
    quarters = torch.tensor([0.25, 0.75, 1.25, 1.75], dtype=torch.float64) * math.pi
    across = view.hip * math.sqrt(2)
    hips = (across * rows[:, None] for rows in (quarters.cos(), quarters.sin()))
    made = (*_turns(), *_angles(quarters, view.bends), *hips)
    return _Fixed(*(rows.to(device, dtype) for rows in made))


def _turns() -> tuple[Tensor, Tensor, Tensor]:
    """Quaternions turn by half the angle, velocities by all of it; angular velocity is the robot's own already."""
    by, bias = torch.zeros(2, NUMBERS, 4), torch.zeros(2, NUMBERS)
    bias[0] = 1
    partners = torch.zeros(NUMBERS, NUMBERS)
    for one, other in zip(ONE, OTHER, strict=True):
        partners[one, other], partners[other, one] = 1, -1
        for place in (one, other):
            if one == VELOCITY:
                by[0, place, 3], by[1, place, 2] = -2, 2  # cos 2a = 1 - 2 sin a sin a, sin 2a = 2 cos a sin a
            else:
                by[0, place, 0], by[1, place, 1], bias[0, place] = 1, 1, 0
    return by.flatten(0, 1), bias.flatten()[:, None], partners


def _angles(quarters: Tensor, bends: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Of each leg: where it points and how far its ankle bends down, and both a quarter turn on, sorted as `felt` says."""
    by, bias = torch.zeros(4, 4, NUMBERS), torch.zeros(4, 4, dtype=torch.float64)
    bias[:2] = quarters
    bias[1::2] += math.pi / 2
    for leg, bend in enumerate(bends):
        by[:2, leg, 5 + 2 * leg] = 1
        by[2:, leg, 6 + 2 * leg] = bend
    return by.flatten(0, 1), bias.flatten()[:, None]
