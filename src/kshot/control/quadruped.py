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
from functools import cached_property

import torch
from torch import Tensor

NUMBERS = 27
"""Of an observation: height, quaternion, 8 angles, velocity, angular velocity, 8 speeds; hip and ankle of each leg."""
TORSO = (*range(5), *range(13, 19))
"""Those of the torso: an observation's others are angles and speeds of joints."""
ONE, OTHER = (1, 2, 13), (4, 3, 14)
"""What turns with what: w with z and x with y of the quaternion, the velocity along x with that along y."""
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
        ahead = _turned(seen, *_heading(seen))
        feet, knees = self._heights(ahead)
        near = ((self.foot - feet) / NEAR).clamp(max=1).exp()
        return torch.cat([ahead, feet, knees, near], -1)

    def change(self, seen: Tensor, change: Tensor) -> Tensor:
        """Changes [..., 27] of these observations, as the robot sees them from its heading before."""
        return _turned(change, *_heading(seen))

    def back(self, seen: Tensor, change: Tensor) -> Tensor:
        """The inverse of `change`."""
        cos, sin = _heading(seen)
        return _turned(change, cos, -sin)

    def transitions(
        self, inputs: Tensor, changes: Tensor, parameters: Tensor, mirrored: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions as a model sees them: inputs [..., 27 + joints], changes [..., 27], parameters [..., n], strengths
        of motors first.

        Args:
            mirrored: of n rows [n, ...], each eighth in another of the mirror images.
        """
        seen, actions = inputs[..., :NUMBERS], inputs[..., NUMBERS:]
        seen, changes = self._ahead(seen), self.change(seen, changes)
        if mirrored:
            cut = [rows.tensor_split(len(self.images)) for rows in (seen, actions, changes, parameters)]
            images = [self._image(place, *(rows[place] for rows in cut)) for place in range(len(self.images))]
            seen, actions, changes, parameters = (torch.cat(rows) for rows in zip(*images, strict=True))
        return torch.cat([self.of(seen), actions], -1), changes, parameters

    def _ahead(self, seen: Tensor) -> Tensor:
        return _turned(seen, *_heading(seen))

    def _image(
        self, which: int, seen: Tensor, actions: Tensor, changes: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One mirror image: a strength stays one where its motor pulls the other way."""
        state, motors = self.images[which]
        count = len(motors)
        strength = parameters[..., :count] @ motors.abs().T
        told = torch.cat([strength, parameters[..., count:]], -1)
        return seen @ state.T, actions @ motors.T, changes @ state.T, told

    def _heights(self, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Of the feet and of the knees above the ground, metres, [..., 4] each; of turned observations, so z of the
        quaternion is 0. In few operations, for plans call it a dozen times a step."""
        bends, quarters, east, north = (rows.to(ahead) for rows in self._legs_of)
        angle, ankles = ahead[..., 5:13:2] + quarters, ahead[..., 6:13:2] * bends
        w, x, y = (ahead[..., place : place + 1] for place in range(1, 4))
        # how far up the torso's axes point, z of the world in the torso's frame: (-lean, roll, upright)
        lean, roll, upright = 2 * w * y, 2 * w * x, 1 - 2 * (x * x + y * y)
        out = torch.addcmul(roll * angle.sin(), lean, angle.cos(), value=-1)  # a metre out along each leg
        hips = torch.addcmul(torch.addcmul(ahead[..., :1], roll, north), lean, east, value=-1)
        knees = torch.add(hips, out, alpha=self.upper * math.sqrt(2))
        low = self.lower * math.sqrt(2)
        feet = torch.addcmul(
            torch.addcmul(knees, ankles.cos(), out, value=low), ankles.sin(), upright, value=-low
        )
        return feet, knees

    @cached_property
    def _legs_of(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each leg: how its ankle bends, its direction, and where its hip is."""
        quarters = torch.tensor([0.25, 0.75, 1.25, 1.75]) * math.pi
        across = self.hip * math.sqrt(2)
        return torch.tensor(self.bends), quarters, across * quarters.cos(), across * quarters.sin()

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


def _heading(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of half the angle that the robot faces at: its turn about the vertical, leaning left out."""
    w, z = seen[..., 1:2], seen[..., 4:5]
    size = torch.hypot(w, z).clamp(min=1e-6)
    return w / size, z / size


def _turned(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Observations or changes turned back by a heading, [..., 27]; angular velocity is the robot's own already."""
    one, other = (torch.cat([rows[..., at : at + 1] for at in places], -1) for places in (ONE, OTHER))
    # quaternions turn by half the angle, velocities by all of it
    by, across = torch.cat([cos, cos, cos * cos - sin * sin], -1), torch.cat([sin, sin, 2 * cos * sin], -1)
    w_x_u = torch.addcmul(one * by, other, across)
    z_y_v = torch.addcmul(other * by, one, across, value=-1)
    return torch.cat(
        [
            rows[..., :1], w_x_u[..., :2], z_y_v[..., 1:2], z_y_v[..., :1], rows[..., 5:13], w_x_u[..., 2:],
            z_y_v[..., 2:], rows[..., 15:],
        ],
        -1,
    )  # fmt: skip
