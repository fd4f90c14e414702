"""Output spaces: what an answer is, how it is judged, and its JSON form."""

from kshot.tasks.spaces.actions import ActionPrediction, Actions
from kshot.tasks.spaces.boxes import Box, Boxes, BoxPrediction, BoxScores
from kshot.tasks.spaces.classes import Classes, ClassPrediction
from kshot.tasks.spaces.density import Density, DensityPrediction
from kshot.tasks.spaces.numbers import Gaussian, NumberPrediction, Numbers
from kshot.tasks.spaces.pieces import Picked, Pieces
from kshot.tasks.spaces.space import OutputSpace, register_space, space_from_json
from kshot.tasks.spaces.spans import Span, SpanPrediction, Spans, SpanScores

__all__ = [
    "ActionPrediction",
    "Actions",
    "Box",
    "BoxPrediction",
    "BoxScores",
    "Boxes",
    "ClassPrediction",
    "Classes",
    "Density",
    "DensityPrediction",
    "Gaussian",
    "NumberPrediction",
    "Numbers",
    "OutputSpace",
    "Picked",
    "Pieces",
    "Span",
    "SpanPrediction",
    "SpanScores",
    "Spans",
    "register_space",
    "space_from_json",
]
