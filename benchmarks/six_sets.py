"""The six data sets on which choosing is judged, as pools of inputs and of features.

Pictures go through the encoder of the bundled base `glyphs`, which saw none of them. Texts become character and
word n-grams (scikit-learn's HashingVectorizer), reduced to 384 numbers by an SVD fitted without the part that
tasks are drawn from.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kshot
from benchmarks.rows import data_folder
from kshot.data import Pool
from kshot.encoders.pictures import read_picture
from kshot.learners import Learner
from kshot.learners.embedding import embed_all

PICTURES = ("omniglot", "kuzushiji_kanji", "mnist_test", "cifar10_jpg")
TEXTS = ("clinc150", "banking77")
_PER_CLASS = 200
_FITTED = 5000
"""Texts that an SVD is fitted on, about."""


def pictures(name: str) -> Pool:
    """Pictures as they are; of MNIST and CIFAR-10 the first 200 test pictures a class."""
    folder = data_folder() / name
    if name == "omniglot":
        return kshot.vision.omniglot(folder, rotate=False).test.pool
    if name == "kuzushiji_kanji":
        with np.load(folder / "kkanji_32x32.npz", allow_pickle=False) as found:
            return Pool(torch.from_numpy(found["images"]), found["class_index"].tolist(), name)
    if name == "mnist_test":
        with np.load(folder / "mnist_t10k.npz", allow_pickle=False) as found:
            images, labels = torch.from_numpy(found["images"]), found["labels"].tolist()
        return _first(Pool(images, labels, name))
    return _cifar(folder / "cifar10_jpg_20k.zip")


def _cifar(file: Path) -> Pool:
    images, labels = [], []
    with zipfile.ZipFile(file) as box:
        for entry in sorted(box.namelist()):
            part, _, rest = entry.partition("/")
            label, _, picture = rest.partition("/")
            if part == "test" and picture.endswith(".jpg") and int(picture[:4]) < _PER_CLASS:
                images.append(read_picture(io.BytesIO(box.read(entry)), entry))
                labels.append(label)
    # read_picture gives channels first; a float tensor says so
    return Pool(torch.stack(images).float() / 255, labels, "cifar10_jpg")


def _first(pool: Pool) -> Pool:
    places = torch.cat([members[:_PER_CLASS] for members in pool.members])
    return Pool(pool.inputs[places], [pool.classes[int(pool.targets[p])] for p in places], pool.name)


def texts(name: str) -> tuple[list[str], Pool]:
    """Texts to fit an SVD on, and the pool of test texts that tasks are drawn from."""
    folder = data_folder() / name
    file = next(f for f in sorted(folder.glob("*.jsonl.gz")) if "fewshot" not in f.name)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if not row.get("oos")]
    asked = [row for row in found if row["split"] == "test"]
    apart = [row["text"] for row in found if row["split"] != "test"]
    return apart, Pool([row["text"] for row in asked], [row["intent"] for row in asked], name)


def svd_features(apart: list[str], shown: list[str], size: int = 384) -> Tensor:
    """n-gram features [n, size] of `shown`; the SVD is fitted on the texts `apart` alone."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.pipeline import make_pipeline, make_union

    grams = make_union(
        HashingVectorizer(ngram_range=(1, 2), n_features=2**16),
        HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=2**16),
    )
    model = make_pipeline(grams, TruncatedSVD(size, n_iter=3, random_state=0)).fit(
        apart[:: max(len(apart) // _FITTED, 1)]
    )
    return torch.from_numpy(model.transform(shown)).float()


def features(name: str, base: Learner | None = None) -> Pool:
    """The pool of features [n, d] of one of the six sets."""
    if name in TEXTS:
        apart, pool = texts(name)
        return _renamed(pool, svd_features(apart, list(pool.inputs)))
    learner = base if base is not None else glyphs()
    pool = pictures(name)
    return _renamed(pool, embed_all(learner, pool.inputs))


def _renamed(pool: Pool, inputs: Tensor) -> Pool:
    labels: list[Any] = [pool.classes[int(t)] for t in pool.targets]
    return Pool(inputs, labels, pool.name)


def glyphs() -> Learner:
    """The bundled base."""
    found = kshot.load("glyphs")
    assert isinstance(found, Learner)
    return found
