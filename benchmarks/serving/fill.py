"""Fills a store with many tasks, through the store's own door: texts, or strokes where the base takes images.

python -m benchmarks.serving.fill FOLDER --tasks 100000
python -m benchmarks.serving.fill FOLDER --tasks 100000 --base glyphs --pool 2000
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.commandline.sources import base_of
from kshot.encoders import ImageEncoder
from kshot.encoders.pictures import png
from kshot.learners import Adapted, Learner
from kshot.learners.records import fingerprint
from kshot.seeds import generator
from kshot.serving.keeping import kept_of
from kshot.serving.sheets import Kept
from kshot.serving.store import Block, Store, Version
from kshot.tasks.spaces import Classes

BASE, SPEC = "texts", "hash:ngram?dim=384"
WAYS, SHOTS = 5, 5
EXAMPLES = WAYS * SHOTS
_POOL, _PART = 20_000, 500

VERBS = [
    "order",
    "cancel",
    "return",
    "track",
    "find",
    "pay",
    "change",
    "update",
    "open",
    "close",
    "lose",
    "report",
    "block",
    "renew",
    "check",
    "send",
    "receive",
    "book",
]
THINGS = [
    "card",
    "account",
    "parcel",
    "invoice",
    "ticket",
    "password",
    "address",
    "number",
    "order",
    "refund",
    "subscription",
    "flight",
    "room",
    "table",
    "licence",
    "device",
    "printer",
    "battery",
    "contract",
    "insurance",
]
FRAMES = (
    "how do i {} my {}", "i would like to {} the {} please", "can you {} a {} for me", "why can i not {} this {}",
    "my {1} was there yesterday, now i must {0} it", "is it possible to {} the {} today", "help me to {} an old {}",
    "{} {} now", "where do i {} the {} i got last week", "the app does not let me {} my {}",
)  # fmt: skip


def base(spec: str = SPEC) -> Learner:
    """What the tasks are taught on: by default hashed n-grams, so cheap that the service itself shows."""
    return base_of(spec)


def strokes(count: int, size: int, seed: int = 0) -> list[str]:
    """Different pictures of a walk of the pen, as they would be posted."""
    rng = generator(seed, "serving", "strokes")
    steps = torch.randint(-1, 2, (count, 60, 2), generator=rng).cumsum(1) + size // 2
    places = steps.clamp(1, size - 2)
    found = []
    for walk in places:
        picture = torch.zeros(1, size, size)
        for dx, dy in ((0, 0), (0, 1), (1, 0)):
            picture[0, walk[:, 0] + dx, walk[:, 1] + dy] = 1.0
        found.append(to_png(picture))
    return found


def to_png(picture: Tensor) -> str:
    """A picture [1, h, w] as a PNG in a data: URL."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def inputs(learner: Learner, count: int, seed: int = 0) -> list[str]:
    """What the base takes, as it would be posted."""
    if isinstance(learner.encoder, ImageEncoder):
        return strokes(count, learner.encoder.size, seed)
    return sentences(count, seed)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different sentences of about 40 characters."""
    rng = generator(seed, "serving", "sentences")
    found: dict[str, None] = {}
    while len(found) < count:
        frame, verb, thing, order = (
            int(torch.randint(n, (1,), generator=rng)) for n in (len(FRAMES), len(VERBS), len(THINGS), 10_000)
        )
        found[f"{FRAMES[frame].format(VERBS[verb], THINGS[thing])} {order}"] = None
    return list(found)


def model_name(number: int) -> str:
    """The id of the `number`-th task, as the service would make it: in no order."""
    return (
        "m_"
        + base64.b32encode(hashlib.sha256(str(number).encode()).digest()[:16]).decode().rstrip("=").lower()
    )


def fill(
    store: Store, learner: Learner, tasks: int, tenant: str = "local", pool: int = _POOL, say: Any = None
) -> float:
    """Put tasks into an empty store; returns the seconds it took."""
    start = time.perf_counter()
    posted = inputs(learner, min(pool, max(500, 10 * tasks)))
    image = isinstance(learner.encoder, ImageEncoder)
    texts: Any = [learner.encoder.from_json(one) for one in posted] if image else posted
    read = learner.encoder.read(texts)
    texts = list(read) if image else texts
    with torch.no_grad():
        features = torch.cat(
            [learner.embed(learner.prepared(read[k : k + 512])) for k in range(0, len(texts), 512)]
        ).half()
    rng, mark = generator(1, "serving", "tasks"), fingerprint(learner)
    for first in range(0, tasks, _PART):
        numbers = range(first, min(first + _PART, tasks))
        chosen = torch.randint(len(texts), (len(numbers), EXAMPLES), generator=rng)
        drawn = zip(numbers, chosen, strict=True)
        store.put_many(tenant, [_task(learner, n, mark, texts, features, own) for n, own in drawn])
        if say and first % 10_000 == 0:
            say(f"{first} tasks, {time.perf_counter() - start:.0f} s")
    return time.perf_counter() - start


def _task(
    learner: Learner, number: int, mark: str, texts: list[str], features: Any, own: Any
) -> tuple[Version, Block, Kept | None]:
    labels = [f"intent {number % 97} {k % WAYS}" for k in range(EXAMPLES)]
    space = Classes.of(labels)
    version = Version(model_name(number), 1, BASE, mark, json.dumps(space.to_json()), tuple(range(EXAMPLES)))
    held = [texts[k] for k in own.tolist()]
    ids = tuple(f"e{k}" for k in range(EXAMPLES))
    task = Adapted.of_embedded(learner, space, held, labels, ids, features[own].float())
    return version, Block(version.numbers, labels, held, features[own]), kept_of(task)


def main() -> None:
    """Fill a folder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--base", default=SPEC, help="a text encoder")
    parser.add_argument("--pool", type=int, default=_POOL, help="different sentences")
    asked = parser.parse_args()
    store = Store.at(asked.folder)
    try:
        seconds = fill(store, base(asked.base), asked.tasks, pool=asked.pool, say=print)
    finally:
        store.close()
    print(f"{asked.tasks} tasks in {seconds:.0f} s")


if __name__ == "__main__":
    main()
