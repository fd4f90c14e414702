"""The command version."""

from __future__ import annotations

import kshot
from kshot.commandline.output import guarded, say


@guarded
def version() -> None:
    """Print the version of kshot."""
    say(kshot.__version__)
