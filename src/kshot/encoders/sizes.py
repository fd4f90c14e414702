"""What the numbers among an encoder's settings must be."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from kshot.errors import SettingError


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int; NumPy's whole numbers are taken too.

    Raises:
        SettingError: no whole number, or under `least`.

    >>> whole("width", 64)
    64
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if isinstance(value, bool) or found < least:
        raise SettingError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return found


def whole_numbers(name: str, values: Sequence[Any], least: int = 1, *, some: bool = True) -> tuple[int, ...]:
    """Each of `values` as an int, at least one of them where `some`.

    Raises:
        SettingError: no list, an empty one, or one of them is no whole number of at least `least`.

    >>> whole_numbers("widths", [64, 160])
    (64, 160)
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SettingError(f"{name} is {values!r}; give a list of whole numbers, for example (64, 64)")
    found = tuple(whole(f"{name}[{place}]", value, least) for place, value in enumerate(values))
    if some and not found:
        raise SettingError(f"{name} is {list(values)}; give at least one whole number")
    return found


def check_scale(mean: Sequence[float], std: Sequence[float], count: int, what: str) -> None:
    """Raise SettingError unless mean and std come together, one number for all or one for each of `count`."""
    fits = len(mean) == len(std) and len(mean) in (0, 1, count)
    finite = all(math.isfinite(value) for value in (*mean, *std))
    if not fits or not finite or not all(value > 0 for value in std):
        raise SettingError(
            f"mean is {list(mean)} and std {list(std)} for {count} {what}s; give both or neither, a finite number for "
            f"each {what}, with std above 0"
        )
