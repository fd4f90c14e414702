"""Ctrl-C at a safe place: the running step ends first, so that what is saved is consistent."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_HANDLED = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""Signals taken over, where nobody else has; SIGTERM is how clusters and containers say stop."""


class Interrupted(Exception):
    """Somebody asked to stop, and this is a safe place."""


class Interrupts:
    """While open, the first Ctrl-C (or SIGTERM) is kept in `asked`; the second one acts at once.

    Signals can only be taken over in the main thread; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number, usual in _HANDLED.items():
                if signal.getsignal(number) == usual:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def check(self, *_: object) -> None:
        """Raise Interrupted if somebody asked to stop. Call where nothing is half done."""
        if self.asked:
            raise Interrupted

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
