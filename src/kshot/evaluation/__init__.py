"""Evaluation: tasks to numbers with 95 % intervals. Returns a report, never logs."""

from kshot.evaluation.confusion import Confusion, confusion
from kshot.evaluation.cross_domain import CrossDomain, cross_domain
from kshot.evaluation.evaluate import embed_all, evaluate
from kshot.evaluation.files import write_report
from kshot.evaluation.report import Interval, Report
from kshot.evaluation.sweeps import Sweep, against_shots, against_steps
from kshot.evaluation.table import Row

__all__ = [
    "Confusion",
    "CrossDomain",
    "Interval",
    "Report",
    "Row",
    "Sweep",
    "against_shots",
    "against_steps",
    "confusion",
    "cross_domain",
    "embed_all",
    "evaluate",
    "write_report",
]
