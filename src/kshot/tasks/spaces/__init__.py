"""Output spaces: what an answer is, how it is judged, and its JSON form."""

from kshot.tasks.spaces.classes import Classes, ClassPrediction
from kshot.tasks.spaces.numbers import Gaussian, NumberPrediction, Numbers
from kshot.tasks.spaces.space import OutputSpace, register_space, space_from_json

__all__ = [
    "ClassPrediction",
    "Classes",
    "Gaussian",
    "NumberPrediction",
    "Numbers",
    "OutputSpace",
    "register_space",
    "space_from_json",
]
