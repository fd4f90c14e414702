"""Bytes <-> learners and tasks: the one place that knows both storage and learners."""

from importlib import metadata

from kshot.bundles.examples import SavedExamples, saved_examples
from kshot.bundles.known import Opener, make_encoder, register_encoder, register_learner, register_opener
from kshot.bundles.loading import load, load_learned
from kshot.bundles.places import SUFFIX, bundled

__all__ = [
    "SUFFIX",
    "Opener",
    "SavedExamples",
    "bundled",
    "load",
    "load_learned",
    "make_encoder",
    "register_encoder",
    "register_learner",
    "register_opener",
    "saved_examples",
]

for _domain in metadata.entry_points(group="kshot.domains"):
    # so that what a domain registers is known to whoever opens a file, whatever was imported before
    _domain.load()
