"""The test martingale: uniform p-values, a stated chance of a false alarm, and power after a change."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kshot.trust import Martingale
from kshot.trust.martingale import POWERS, _kept_back, _log_pays


def course(scores: np.ndarray, rng: np.random.Generator) -> tuple[Martingale, float]:
    """The martingale after all scores, and the most it ever was worth."""
    game, most = Martingale(), 1.0
    for score, chance in zip(scores, 1 - rng.random(len(scores)), strict=True):
        game = game.bet(float(score), float(chance))
        most = max(most, game.value)
    return game, most


@pytest.mark.parametrize("power", range(len(POWERS)))
def test_no_bet_gains_on_average(power: int) -> None:
    """The mean pay over uniform p, by quadrature over q = p^k: dp = q^(1/k - 1) / k dq."""
    k = POWERS[power]
    q = (np.arange(4000) + 0.5) / 4000
    p, dp = q ** (1 / k), q ** (1 / k - 1) / k / 4000
    pays = np.array([np.exp(_log_pays(float(x))) for x in p])
    mirrored = np.array([np.exp(_log_pays(float(1 - x))) for x in p])
    assert float(pays[:, power] @ dp) <= 1 + 1e-9
    assert float(pays[:, power] @ dp) == pytest.approx(1, abs=0.2 if k < 0.1 else 0.01)
    assert float(mirrored[:, power + len(POWERS)] @ dp) <= 1 + 1e-6


def test_the_capital_is_staked_once() -> None:
    stakes = [_kept_back(k) - _kept_back(k + 1) for k in range(1000)]
    assert _kept_back(0) == 1.0
    assert min(stakes) > 0
    assert sum(stakes) + _kept_back(1000) == pytest.approx(1)


DRAWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(size=n),
    "few values": lambda rng, n: rng.integers(0, 3, size=n).astype(float),
    "constant": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_false_alarms_stay_under_the_stated_rate(kind: str) -> None:
    """100 calm streams of 80 at a stated 20 %: more than 30 alarms would have a chance below 1 %."""
    rng = np.random.default_rng(7)
    alarms = sum(course(DRAWS[kind](rng, 80), rng)[1] >= 1 / 0.2 for _ in range(100))
    assert alarms <= 30


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("kind", DRAWS)
def test_false_alarms_stay_under_the_stated_rate_in_long_streams(kind: str, rate: float) -> None:
    """400 calm streams of 500; more alarms than the rate and three standard deviations would break the promise."""
    rng = np.random.default_rng(8)
    alarms = sum(course(DRAWS[kind](rng, 500), rng)[1] >= 1 / rate for _ in range(400))
    assert alarms / 400 <= rate + 3 * math.sqrt(rate * (1 - rate) / 400)


def test_the_same_streams_would_alarm_too_often_without_random_ties() -> None:
    """The test above can fail: ties that always count as strange break the guarantee."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(50):
        game = Martingale()
        for score in rng.integers(0, 2, size=150):
            game = game.bet(float(score), 1e-9)
        alarms += game.value >= 1 / 0.2
    assert alarms / 50 > 0.5


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_shift_either_way_is_noticed_and_dated(sign: int) -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(size=200), rng.normal(size=25) + 3.0 * sign])
    game, most = course(scores, rng)
    assert most > 1000
    assert abs(game.change - 200) <= 15


def test_a_late_change_is_noticed_nearly_as_soon_as_an_early_one() -> None:
    rng = np.random.default_rng(2)
    delays = []
    for calm in (100, 1500):
        game, rank = Martingale(), 0
        for score in np.concatenate([rng.normal(size=calm), rng.normal(size=80) + 2.5]):
            game = game.bet(float(score), float(1 - rng.random()))
            rank += 1
            if game.value >= 200:
                break
        delays.append(rank - calm)
    assert max(delays) < 40
    assert delays[1] < delays[0] + 15


def test_infinite_scores_and_extreme_chances_stay_numbers() -> None:
    game = Martingale()
    for score in [0.0, math.inf, math.inf, -math.inf, 5.0]:
        for chance in (1e-300, 1.0):
            game = game.bet(score, chance)
            assert math.isfinite(game.value)


def test_json_turns_back() -> None:
    game, _ = course(np.random.default_rng(3).normal(size=30), np.random.default_rng(4))
    again = Martingale.from_json(game.to_json())
    assert again.value == game.value
    assert again.bet(1.0, 0.5).to_json() == game.bet(1.0, 0.5).to_json()
