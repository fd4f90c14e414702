"""What travels with kshot about refusing: tables that other tasks filled, and how they give way to what a task says itself.

The tables are numbers only: of classifiers for the encoders that kshot knows by name, of banks of answers for hashed n-grams
and for sentence models (`python -m benchmarks.refusals knowledge`).
"""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from kshot.text.hashed import HashedNgrams
from kshot.text.texts import TextEncoder

_OTHERS = 100
"""Own texts, each left out, that weigh as much as other tasks. Left out, a text has one fellow less, so alone they refuse
too few: 5.9 to 9.1 % of known messages on five intent sets where 10 % are asked for. Without them hashed n-grams miss 5 % by
3.2 points on average where texts are hundreds. Chosen on those sets among 0, 20, 100, 400 and all of other tasks: with a
hundred, 5 and 10 % are missed by .6 to 1.7 points at every size."""


@cache
def _tables() -> dict[str, Tensor]:
    return load_file(Path(str(resources.files("kshot") / "text" / "knowledge.safetensors")))


def of_encoder(encoder: TextEncoder) -> tuple[Tensor, Tensor] | None:
    """For classifiers on an encoder: the table of `kshot.trust.calibrate`, and the temperature; None: none travels."""
    found, own = _tables(), f"intents/{_kind(encoder)}/{encoder.fingerprint()}"
    return (found[f"{own}/table"], found[f"{own}/temperature"]) if f"{own}/table" in found else None


def of_intents(encoder: TextEncoder) -> Tensor:
    """The table of classifiers on the known encoder that is most like this one: hashed n-grams, or MiniLM.

    In what a task measures of itself encoders differ little: of the other one's table the worst of five intent sets lost
    17 % of known messages where 10 % were asked for (23 % at one example a class).
    """
    return _first(f"intents/{_kind(encoder)}/")


def of_answers(encoder: TextEncoder) -> Tensor:
    """The table of banks of answers: ways are entries, shots are questions an entry."""
    return _first(f"answers/{_kind(encoder)}/")


def _kind(encoder: TextEncoder) -> str:
    return "words" if encoder.kind == HashedNgrams.kind else "meaning"


def _first(start: str) -> Tensor:
    return next(
        part for name, part in _tables().items() if name.startswith(start) and name.endswith("/table")
    )


def settled(own: np.ndarray, share: float, usual: float, weight: float | None = None) -> float:
    """The score under which messages are unknown: `usual`, and the more, the more own scores there are, what they say.

    Of n own scores and a share r that is the floor(r (n + 1))-th lowest, the lowest where there is none so low.

    Args:
        own: scores of known messages. usual: the threshold by other tasks; -inf: there is none.
        weight: share that the own scores have; None: n / (n + 100).

    >>> scores = np.arange(1.0, 101.0)
    >>> settled(scores, 0.05, 3.0), settled(scores[:0], 0.05, 3.0), settled(scores, 0.05, 3.0, weight=1.0)
    (4.0, 3.0, 5.0)
    """
    if not len(own):
        return usual
    place = int(share * (len(own) + 1))
    if not place and usual == -math.inf:
        return usual
    quantile = float(np.sort(own)[max(place, 1) - 1])
    mine = len(own) / (len(own) + _OTHERS) if weight is None else weight
    return quantile if usual == -math.inf or mine >= 1 else mine * quantile + (1 - mine) * usual
