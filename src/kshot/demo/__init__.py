"""The demo: from nothing to a model that learns a new task from a few examples, in about four minutes."""

from kshot.demo.plan import EFFORTS, Plan, plan
from kshot.demo.story import run_demo

__all__ = ["EFFORTS", "Plan", "plan", "run_demo"]
