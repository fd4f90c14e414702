"""Choosing what suits a task, by leave-one-out on its own few examples."""

from kshot.tuning.candidates import heads_on
from kshot.tuning.choice import Candidate, Choice
from kshot.tuning.choose import choose
from kshot.tuning.rows import RowsChoice, choose_for_rows

__all__ = ["Candidate", "Choice", "RowsChoice", "choose", "choose_for_rows", "heads_on"]
