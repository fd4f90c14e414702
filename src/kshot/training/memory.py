"""Keeping freed memory instead of giving it back to the system after every layer.

glibc returns each large block at once, so every activation of every step is paid for in page
faults: keeping blocks makes a conv4 training step 1.6 (one thread) to 1.9 (two) times as fast on a CPU.
"""

from __future__ import annotations

import ctypes
import sys

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks; True where it understood. Costs memory, never correctness."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))
    return all(mallopt(name, value) == 1 for name, value in settings)
