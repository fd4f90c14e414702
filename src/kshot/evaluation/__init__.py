"""Evaluation: tasks to numbers with 95 % intervals. Returns a report, never logs."""

from kshot.evaluation.evaluate import embed_all, evaluate
from kshot.evaluation.report import Interval, Report

__all__ = ["Interval", "Report", "embed_all", "evaluate"]
