"""Evaluation: tasks to numbers with 95 % intervals. Returns a report, never logs."""

from kshot.evaluation.confusion import Confusion, confusion
from kshot.evaluation.cross_domain import CrossDomain, cross_domain
from kshot.evaluation.evaluate import evaluate
from kshot.evaluation.files import write_report
from kshot.evaluation.reliability import expected_calibration_error
from kshot.evaluation.report import Interval, Report
from kshot.evaluation.sweeps import Sweep, against_shots, against_steps
from kshot.evaluation.table import Row
from kshot.evaluation.timing import time_to_adapt
from kshot.learners.embedding import embed_all

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
    "expected_calibration_error",
    "time_to_adapt",
    "write_report",
]
