"""The detector: objects found and named from a few pictures with marked boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from torch import Tensor

from kshot.bundles import load, register_learner
from kshot.encoders import Encoder
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.heads import Head
from kshot.learners import Learner, Localiser, Located
from kshot.learners.learner import State
from kshot.learners.localiser import Where
from kshot.learners.records import fingerprint
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace
from kshot.vision.centres import Centres
from kshot.vision.naming import (
    looked_up,
    named_by_parts,
    refused_by_parts,
    with_strangers,
    without_each_by_parts,
)
from kshot.vision.patches import BINS, Patches
from kshot.vision.picture_maps import MapEncoder
from kshot.vision.pyramids import TorchVisionMaps

BASE = "scenes"
"""The bundled detector; made by `python -m benchmarks.detection scenes`."""


@register_learner
class Detector(Located):
    """Finds and names objects; see `detector`.

    `adapt` and `add` take a list of (picture, boxes, labels), boxes being rows of left, top, right, bottom in the
    picture's own pixels; or pictures, as `kshot.encoders` takes them, and for each a list of (left, top, right, bottom,
    label). A box with the label None is something to refuse; a picture without boxes, [], shows what is none of them.
    One class is enough. A box outside of its picture, without area, or with sides in another order is a DataError.

    >>> import torch
    >>> picture = torch.zeros(1, 64, 64)
    >>> picture[:, 10:30, 20:50] = 1
    >>> task = untrained(size=64, channels=1).adapt([(picture, [(20, 10, 50, 30)], ["bar"])])
    >>> task.space.labels, task.targets
    (('bar',), [[(20.0, 10.0, 50.0, 30.0, 'bar')]])
    """

    kind: ClassVar[str] = "vision.detector"
    head: Head
    origin: tuple[Learner, ...] = ()
    """The base that this network was tuned from, while it is in memory; a tuple, since it is no part of this one."""

    def __init__(
        self, encoder: Encoder, localiser: Localiser | dict[str, Any], head: str | Head = "prototype", **settings: Any
    ) -> None:  # fmt: skip
        super().__init__(
            encoder, localiser, Patches(**settings) if head == Patches.kind else head, **settings
        )

    def named(self, vectors: Tensor, labels: Tensor, size: int) -> State:
        if isinstance(self.head, Patches):
            return named_by_parts(self.head, vectors, labels)
        return super().named(vectors, labels, size)

    def solved(
        self, rows: Sequence[Tensor], looks: Sequence[Tensor], where: Where, aside: Sequence[Tensor], space: OutputSpace
    ) -> State:  # fmt: skip
        state = super().solved(rows, looks, where, aside, space)
        return with_strangers(self.head, state) if isinstance(self.head, Patches) else state

    def solve_without_each(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], space: OutputSpace
    ) -> list[State | None]:
        if isinstance(self.head, Patches):
            looks = self.localiser.vectors_of(items, rows)
            wheres = [where for where, _ in self.localiser.without_each(items, rows, 0)]
            whole = self.solved(rows, looks, {}, [], space)
            found = without_each_by_parts(self.head, whole, rows, looks, wheres)
            if found is not None:
                return found
        return super().solve_without_each(items, rows, space)

    def ready(self, states: Sequence[State], vectors: Tensor) -> Sequence[State]:
        return looked_up(self.head, states, vectors) if isinstance(self.head, Patches) else states

    def refusal(self, state: State, vectors: Tensor) -> Tensor:
        if isinstance(self.head, Patches):
            return refused_by_parts(self.head, state, self.outside[0].expand(len(vectors), 1), vectors)
        return super().refusal(state, vectors)

    def unpacked(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        if targets is None and not isinstance(inputs, Examples):
            return marked(inputs)
        return super().unpacked(inputs, targets)

    def tuned_from(self, base: Learner, seen: Sequence[str], steps: int) -> None:
        """Note that this network was tuned (see `kshot.vision.tune`): from which base, and on which inputs (digests)."""
        first = base.card.get("tuned", {})
        origin = first.get("base", {"name": base.name, "fingerprint": fingerprint(base)})
        told = {"base": origin, "seen": sorted({*seen, *first.get("seen", ())}), "steps": steps}
        self.card, self.name = {**base.card, "tuned": told}, f"{origin['name'] or 'detector'} tuned"
        self.origin = base.origin if first and isinstance(base, Detector) else (base,)

    def without_inputs(self, digests: set[str]) -> Learner:
        """The base that this network was tuned from, where it was tuned on one of these inputs; else itself."""
        told = self.card.get("tuned")
        if told is None or digests.isdisjoint(told["seen"]):
            return self
        if self.origin:
            return self.origin[0]
        wanted = told["base"]
        try:
            found = load(wanted["name"])
        except BundleError:
            found = None
        if not isinstance(found, Learner) or fingerprint(found) != wanted["fingerprint"]:
            raise UnsupportedError(
                f"the detector was tuned on what is to be forgotten, and the base it came from ({wanted['name'] or 'unnamed'}"
                f", {wanted['fingerprint'][:12]}) is not bundled nor in KSHOT_HOME; adapt that base to the other examples, "
                "and tune again"
            )
        return found

    def check_examples(self, read: Any, targets: Any) -> None:
        """Raise DataError where a box lies outside of its picture by more than a pixel."""
        for place, (picture, boxes) in enumerate(zip(read, targets, strict=True)):
            height, width = picture.shape[-2:]
            for left, top, right, bottom, label in boxes:
                if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
                    raise DataError(
                        f"picture {place}: box ({left}, {top}, {right}, {bottom}, {label!r}) reaches beyond the picture, "
                        f"which is {width} x {height} pixels; give sides in the picture's own pixels, 0 to {width} "
                        f"and 0 to {height}: cut the box, or undo a resize"
                    )


def detector(
    encoder: MapEncoder | str | None = None,
    head: str | Head = "prototype",
    *,
    size: int = 416,
    pretrained: bool | str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Detector:
    """A detector for any classes: give it a few marked pictures with `adapt`.

    Args:
        encoder: None for the bundled one, which is ready; or, to be meta-trained with `kshot.fit`, an encoder of
            maps, or a torchvision model by name ("resnet18", "mobilenet_v3_large") with its feature pyramid.
        head: names what is found; see `kshot.learners.Located`. Only where an encoder is given.
        size: longer side in pixels at which pictures are seen. pretrained: weights of a torchvision model, see
            `kshot.encoders.TorchVision`.
        settings: of `kshot.vision.Centres`.

    Raises:
        SettingError: settings that do not fit the bundled detector.

    >>> learner = detector("resnet18", size=128)
    >>> learner.kind
    'vision.detector'
    """
    if encoder is None:
        if settings or pretrained or head != "prototype":
            raise SettingError(
                f"{[*settings, 'head']} were given for the bundled detector, whose parts are fixed; give an encoder too"
            )
        return resized(cast(Detector, load(BASE)), size)
    maps = TorchVisionMaps(encoder, size=size, pretrained=pretrained) if isinstance(encoder, str) else encoder
    return Detector(maps, Centres(maps.features, **settings), head)


def resized(learner: Detector, size: int) -> Detector:
    """The same detector looking at pictures of another size."""
    if size == learner.encoder.size:
        return learner
    encoder = type(learner.encoder)(**{**learner.encoder.config(), "size": size})
    other = Detector(encoder, **learner.config())
    other.seen, other.self_knowledge = learner.seen, learner.self_knowledge
    other.load_state_dict(learner.state_dict())
    other.card = dict(learner.card)
    return other.eval()


def closer(learner: Detector) -> Detector:
    """The same detector, which names boxes by their parts: see `kshot.vision.patches`."""
    maps = cast(MapEncoder, learner.encoder)
    planes = BINS + maps.channels
    localiser = Centres(**{**learner.localiser.config(), "edges": planes})
    encoder = type(maps)(**{**maps.config(), "edges": True})
    return _like(learner, Detector(encoder, localiser, Patches(planes)))


def plainer(learner: Detector) -> Detector:
    """The same detector without `closer`, naming by the nearest mean; itself where it does not look closer."""
    if not isinstance(learner.head, Patches):
        return learner
    encoder = type(learner.encoder)(**{**learner.encoder.config(), "edges": False})
    return _like(learner, Detector(encoder, Centres(**{**learner.localiser.config(), "edges": 0})))


def _like(learner: Detector, other: Detector) -> Detector:
    """`other` with the weights, but for those of the head, and all else that `learner` carries."""
    weights = {name: t for name, t in learner.state_dict().items() if not name.startswith("head.")}
    other.load_state_dict(weights, strict=False)
    other.seen, other.self_knowledge = learner.seen, learner.self_knowledge
    other.card, other.name, other.origin = dict(learner.card), learner.name, learner.origin
    return other.eval()


def untrained(size: int = 96, channels: int = 1, features: int = 16, **settings: Any) -> Detector:
    """A small detector that knows nothing yet, to be meta-trained with `kshot.fit`."""
    from kshot.vision.picture_maps import PictureMaps

    encoder = PictureMaps(size, channels, (8, 16, 16, 16, 16), features)
    return Detector(encoder, Centres(features, **{"tower": 8, "vector": 16, **settings}))


def marked(examples: Any) -> tuple[list[Any], list[list[tuple[Any, ...]]]]:
    """(picture, boxes, labels) each, to pictures and their targets.

    Raises:
        DataError: something else, or unequal numbers of boxes and labels.
    """
    pictures, targets = [], []
    for place, example in enumerate(examples):
        if not isinstance(example, tuple | list) or len(example) != 3:
            raise DataError(
                f"example {place} is a {type(example).__name__}; give (picture, boxes, labels), or pictures and targets"
            )
        picture, boxes, labels = example
        rows = [
            row.tolist() if isinstance(row, Tensor) or hasattr(row, "tolist") else list(row) for row in boxes
        ]
        if len(rows) != len(labels):
            raise DataError(
                f"example {place} has {len(rows)} boxes and {len(labels)} labels; give one label a box"
            )
        if any(len(row) != 4 for row in rows):
            raise DataError(f"example {place}: a box is {rows[0]}; give left, top, right, bottom")
        pictures.append(picture)
        targets.append([(*map(float, row), label) for row, label in zip(rows, labels, strict=True)])
    return pictures, targets
