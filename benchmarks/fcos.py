"""Fine-tuning torchvision's FCOS on the network of a kshot detector: what users would do instead.

Tian et al. (2019), "FCOS". The backbone starts from the same weights; its feature pyramid is the detector's own, at
strides 8 to 64; heads start at random, as there are no others. Pictures are mirrored at random, as in torchvision's own
reference training.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator

from kshot.seeds import drawing, generator


class Pyramid(nn.Module):
    """The levels of a `PictureMaps` from the top down, not only the finest."""

    def __init__(self, maps: Any) -> None:
        super().__init__()
        self.maps = maps
        self.out_channels = 64  # its heads have norms of 32 groups
        self.widen = nn.Conv2d(maps.features, 64, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.maps
        x = maps.stem(x)
        levels = []
        for level, across in zip(maps.levels, maps.across, strict=True):
            x = level(x)
            levels.append(across(x))
        tops = [levels.pop()]
        while len(levels) > 1:
            tops.append(levels[-1] + F.interpolate(tops[-1], size=levels[-1].shape[-2:], mode="nearest"))
            levels.pop()
        found = [*tops[::-1], F.max_pool2d(tops[0], 1, 2)]
        return OrderedDict((str(n), self.widen(level)) for n, level in enumerate(found))


def fine_tuned(
    learner: Any, examples: list[tuple[Tensor, list[Any]]], labels: list[str], seconds: float, seed: int
) -> Callable[[Tensor], list[tuple[Any, ...]]]:
    """An FCOS after so many CPU seconds of training on the examples: pictures to found boxes."""
    import copy

    with drawing(torch.device("cpu"), seed, "fcos"):
        backbone = Pyramid(copy.deepcopy(learner.encoder).train())
        anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
        model = FCOS(
            backbone, len(labels), min_size=416, max_size=416, image_mean=[0.5] * 3, image_std=[0.25] * 3,
            anchor_generator=anchors, score_thresh=0.01, detections_per_img=100,
        )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    rng = generator(seed, "fcos", "order")
    begin = time.process_time()
    model.train()
    while (spent := time.process_time() - begin) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - spent / seconds) + 1e-6
        batch = [examples[n] for n in torch.randperm(len(examples), generator=rng)[:2].tolist()]
        pairs = [(_colour(picture), _goal(boxes, labels)) for picture, boxes in batch]
        pairs = [_mirrored(*pair) if torch.rand((), generator=rng) < 0.5 else pair for pair in pairs]
        images, goals = [image for image, _ in pairs], [goal for _, goal in pairs]
        losses = model(images, goals)
        optimizer.zero_grad()
        sum(losses.values()).backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    model.eval()

    def predict(picture: Tensor) -> list[tuple[Any, ...]]:
        with torch.no_grad():
            found = model([_colour(picture)])[0]
        rows = zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True)
        return [
            (*box, labels[label], score) for box, label, score in rows if box[0] < box[2] and box[1] < box[3]
        ]

    return predict


def _colour(picture: Tensor) -> Tensor:
    return picture.float().expand(3, -1, -1) / 255


def _mirrored(image: Tensor, goal: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    left, top, right, bottom = goal["boxes"].unbind(1)
    width = image.shape[2]
    return image.flip(2), {**goal, "boxes": torch.stack([width - right, top, width - left, bottom], 1)}


def _goal(boxes: list[Any], labels: list[str]) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor([box[:4] for box in boxes], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([labels.index(box[4]) for box in boxes], dtype=torch.long),
    }
