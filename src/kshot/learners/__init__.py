"""The algorithms, one file each, and the contract they share."""

from kshot.learners.adapted import Adapted
from kshot.learners.adapter import Adapter
from kshot.learners.closed_form import ClosedForm
from kshot.learners.gradient import GradientLearner
from kshot.learners.learner import Learner, Movement
from kshot.learners.localiser import Candidates, Localiser, register_localiser
from kshot.learners.located import Located
from kshot.learners.located_estimate import PiecesEstimate
from kshot.learners.many import predict_many
from kshot.learners.neural_process import NeuralProcess
from kshot.learners.protonet import ProtoNet
from kshot.learners.recipes import anil, boil, fine_tuning, fomaml, maml, meta_sgd, reptile
from kshot.learners.records import save_learner
from kshot.learners.results import Checked, Evidence, Explanation, Rebased, Regression
from kshot.learners.self_estimate import BaseRecord, SelfEstimate, SuspectLabel
from kshot.learners.transfer import Transfer

__all__ = [
    "Adapted",
    "Adapter",
    "BaseRecord",
    "Candidates",
    "Checked",
    "ClosedForm",
    "Evidence",
    "Explanation",
    "GradientLearner",
    "Learner",
    "Localiser",
    "Located",
    "Movement",
    "NeuralProcess",
    "PiecesEstimate",
    "ProtoNet",
    "Rebased",
    "Regression",
    "SelfEstimate",
    "SuspectLabel",
    "Transfer",
    "anil",
    "boil",
    "fine_tuning",
    "fomaml",
    "maml",
    "meta_sgd",
    "predict_many",
    "register_localiser",
    "reptile",
    "save_learner",
]
