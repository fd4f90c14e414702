"""Text: encoders by one string, classes of texts, intents with refusal, entities."""

from kshot.bundles import register_encoder, register_learner, register_opener
from kshot.text.answer_bank import AnswerBank
from kshot.text.answer_files import load_answers
from kshot.text.cache import FeatureCache
from kshot.text.classifier import TextClassifier, classifier, closed, opened
from kshot.text.entities import Entities, entities
from kshot.text.entries import Entry, Reply
from kshot.text.finder import SpanFinder
from kshot.text.folder import TextModel
from kshot.text.hashed import HashedNgrams
from kshot.text.new_bank import answers
from kshot.text.onnx_file import OnnxText
from kshot.text.project import ProjectedText, project
from kshot.text.routing import Route, Routed, Router, load_router, router
from kshot.text.small import SmallText
from kshot.text.span_files import from_spacy, read_spans, to_spacy, write_spans
from kshot.text.span_tasks import SpanTasks
from kshot.text.specs import encoder, is_spec
from kshot.text.tags import EntityScores, entity_f1
from kshot.text.texts import FrozenText, TextEncoder, Tokens
from kshot.text.trainable import TrainableText
from kshot.text.tune import Tuned, tune
from kshot.text.unit_features import UnitFeatures

for _encoder in (HashedNgrams, TextModel, TrainableText, ProjectedText, OnnxText, SmallText, UnitFeatures):
    register_encoder(_encoder)
register_learner(TextClassifier)
register_learner(Entities)
register_opener("answers", lambda path, base: load_answers(path))
register_opener("router", load_router)

__all__ = [
    "AnswerBank",
    "Entities",
    "EntityScores",
    "Entry",
    "FeatureCache",
    "FrozenText",
    "HashedNgrams",
    "OnnxText",
    "ProjectedText",
    "Reply",
    "Route",
    "Routed",
    "Router",
    "SmallText",
    "SpanFinder",
    "SpanTasks",
    "TextClassifier",
    "TextEncoder",
    "TextModel",
    "Tokens",
    "TrainableText",
    "Tuned",
    "UnitFeatures",
    "answers",
    "classifier",
    "closed",
    "encoder",
    "entities",
    "entity_f1",
    "from_spacy",
    "is_spec",
    "load_answers",
    "load_router",
    "opened",
    "project",
    "read_spans",
    "router",
    "to_spacy",
    "tune",
    "write_spans",
]
