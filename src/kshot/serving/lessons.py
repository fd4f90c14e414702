"""What a teacher asks besides for answers: which bases there are, why an answer, how well classes are told apart."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kshot.encoders import ImageEncoder, VectorEncoder
from kshot.errors import UnsupportedError
from kshot.learners import Adapted, Learner, evidence
from kshot.learners.self_estimate import wilson
from kshot.learners.self_knowledge import settings_of
from kshot.tasks.spaces import Classes

if TYPE_CHECKING:
    from kshot.serving.service import Service

_SHOWN = 20
_QUICK = 60
_READAPTS = 60
"""Examples up to which leaving each one out is affordable for a learner without a formula for it."""


def bases(service: Service) -> list[dict[str, Any]]:
    """Every base that may be taught: its name, what it takes, what it answers, and what its models can be written as."""
    return [
        {
            "name": name,
            "fingerprint": service.fingerprints[name],
            "modality": base.encoder.modality,
            "answers": [space.kind for space in base.spaces],
            "calibrated": bool(len(base.self_knowledge)),
            "exports": _exports_of(base),
            **_input_of(base),
            **{key: str(base.card[key]) for key in ("task", "inputs", "not for") if key in base.card},
        }
        for name, base in service.bases.items()
    ]


def _exports_of(base: Learner) -> list[str]:
    try:
        base.encoder.graph_inputs()
    except UnsupportedError:
        return ["kshot"]
    return ["kshot", "onnx"]


def _input_of(base: Learner) -> dict[str, Any]:
    encoder = base.encoder
    if isinstance(encoder, ImageEncoder):
        return {"image": {"size": encoder.size, "channels": encoder.channels, "ink": ink_of(base, encoder)}}
    return {"row": {"inputs": encoder.inputs}} if isinstance(encoder, VectorEncoder) else {}


def ink_of(base: Learner, encoder: ImageEncoder) -> str | None:
    """How ink differs from paper in what the base was trained on: "bright" or "dark"; None: both, or nobody noted it."""
    if base.seen.shape != (2, 4):
        return None
    scale = sum(encoder.std) / len(encoder.std) if encoder.std else 1.0
    shift = sum(encoder.mean) / len(encoder.mean) if encoder.mean else 0.0
    paper = float(base.seen[:, 3].mean()) * scale + shift
    return "bright" if paper < 0.3 else "dark" if paper > 0.7 else None


def reasons(task: Adapted, embedded: Tensor) -> dict[str, Any]:
    """Why one input [1, ...] is answered as it is: the examples that decided, the nearest, and how familiar it is."""
    told = evidence.explain(task, embedded)[0]
    answer = task.answer_embedded(embedded)
    return {
        **answer.to_json()[0],
        "label": told.label,
        "probability": told.probability,
        "method": told.method,
        "evidence": [
            {"id": e.id, "label": e.label, "contribution": float(e.contribution)}
            for e in told.evidence[:_SHOWN]
        ],
        "nearest": _nearest(task, embedded),
        **_familiarity(task, float(answer.scores[0])),
    }


def _nearest(task: Adapted, embedded: Tensor) -> list[dict[str, Any]]:
    """Examples by the distance of their features, the nearest first; empty where features are no vectors."""
    if not isinstance(task.embedded, Tensor) or task.embedded.ndim != 2:
        return []
    far = torch.cdist(embedded.double(), task.embedded.double())[0]
    order = torch.argsort(far, stable=True)[:_SHOWN].tolist()
    return [{"id": task.ids[k], "label": task.targets[k], "distance": float(far[k])} for k in order]


def _familiarity(task: Adapted, score: float) -> dict[str, Any]:
    """How well the best class fits (1: as well as its own examples), and under what an input is unknown."""
    settings = settings_of(task.learner, task.space, task.gauge, task.knowledge)
    if "familiar" not in settings:
        return {}
    return {"familiarity": score, "unknown_below": float(settings["threshold"])}


def estimate(task: Adapted) -> dict[str, Any] | None:
    """Share of examples answered right without them, with its 95 % interval; None where that takes longer than
    teaching, or nothing can be left out: then `quality` tells.
    """  # fmt: skip
    if not isinstance(task.space, Classes) or not len(task.space.labels) < len(task) <= _QUICK:
        return None
    if task.left_out is None:
        return None
    with torch.no_grad():  # labels alone: how sure the task would be without each is not told here
        scores = task.left_out.own()
    mean = scores[0] if isinstance(scores, tuple) else scores
    given = [task.space.labels[place] for place in mean.argmax(1).tolist()]
    counts, pairs = Counter(task.targets), zip(task.targets, given, strict=True)
    hits = [given == label for label, given in pairs if counts[label] > 1]
    low, high = wilson(sum(hits), len(hits))
    return {"judged": len(hits), "right": sum(hits), "low": low, "high": high}


def quality(task: Adapted) -> dict[str, Any]:
    """How well the classes are told apart: each example asked of the task without it, exactly.

    Raises:
        UnsupportedError: answers are no classes, or the learner cannot do without an example, or would take too long.
    """
    if not isinstance(task.space, Classes):
        raise UnsupportedError(f"the model answers with {task.space.kind}; this is for classes")
    if task.left_out is None and len(task) > _READAPTS:
        raise UnsupportedError(
            f"{type(task.learner).__name__} adapts again for each of {len(task)} examples; up to {_READAPTS} it is "
            "done: check the model on examples held back instead"
        )
    counts = Counter(task.targets)
    given = task.leave_one_out().labels if len(task) > len(counts) else list(task.targets)
    rows = [
        _row(label, [g for y, g in zip(task.targets, given, strict=True) if y == label])
        for label in task.space.labels
    ]
    judged, right = sum(row["judged"] for row in rows), sum(row["right"] for row in rows)
    low, high = wilson(right, judged) if judged else (None, None)
    suspects = task.suspect_labels() if judged else []
    return {
        "judged": judged, "right": right, "low": low, "high": high, "classes": rows,
        "suspects": [
            {"id": s.id, "label": s.label, "suggested": s.suggested, "chance": s.chance} for s in suspects
        ],
    }  # fmt: skip


def _row(label: Any, given: list[Any]) -> dict[str, Any]:
    """One class: how many of its examples are answered right without them; one alone cannot be judged."""
    judged = len(given) if len(given) > 1 else 0
    wrong = Counter(g for g in given if g != label) if judged else Counter()
    return {
        "label": label,
        "examples": len(given),
        "judged": judged,
        "right": judged - sum(wrong.values()),
        "confused_with": [{"label": other, "times": times} for other, times in wrong.most_common()],
    }
