"""What the one dial of the demo means."""

from __future__ import annotations

from dataclasses import dataclass

from kshot.errors import SettingError

EFFORTS = ("quick", "normal", "best")


@dataclass(frozen=True)
class Plan:
    """Everything the demo derives from its effort.

    Attributes:
        classes, drawings: invented characters, and drawings of each, both with a pen and as scans.
        ways: characters in a training task. steps: training tasks.
        tasks: test tasks per figure. slow_tasks: the same for fine-tuning from scratch.
    """

    classes: int
    drawings: int
    ways: int
    steps: int
    validate_every: int
    tasks: int
    slow_tasks: int
    width: int = 64

    def reasons(self) -> list[tuple[str, str, str]]:
        """Rows (setting, value, why), for people."""
        return [
            (
                "characters",
                f"{self.classes:,} x {self.drawings} drawings, with a pen and as scans",
                "more variety than any one alphabet",
            ),
            (
                "training task",
                f"{self.ways} characters, 1 example each",
                "harder than the test, so it learns more",
            ),
            ("training tasks", f"{self.steps:,}", "what fits the time of this effort on 2 processor cores"),
            ("network", f"conv4, {self.width} channels", "the field's standard small network"),
            ("test tasks", f"{self.tasks} per figure", "enough for an interval of about one point"),
        ]


_PLANS = {
    "quick": Plan(2000, 8, 90, 240, 60, 200, 25),
    "normal": Plan(5000, 12, 90, 900, 150, 400, 40),
    "best": Plan(8000, 12, 90, 4000, 400, 1000, 60),
}


def plan(effort: str) -> Plan:
    """The plan of an effort: quick trains for 1.5 minutes on 2 cores; normal has 4 times as many tasks, best 17 times.

    >>> plan("quick").ways
    90
    """
    if effort not in _PLANS:
        raise SettingError(f"effort is {effort!r}; choose one of {', '.join(EFFORTS)}")
    return _PLANS[effort]
