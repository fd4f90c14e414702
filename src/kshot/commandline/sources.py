"""What DATA and TASK may be on the command line, and how they become pools and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kshot import encoders, storage, text
from kshot.bundles import load_learned
from kshot.commandline import recipes
from kshot.commandline.columns import Columns, is_table
from kshot.commandline.pieces import MarkedPool, boxes_pool
from kshot.data import GlyphFamily, Pictures, Pool, Table, npz, read, rotations
from kshot.data.inspect import SHARES, kind_of
from kshot.data.pool import part_sizes
from kshot.demo.handwriting import digits, omniglot_folder, omniglot_test
from kshot.encoders import Encoder, VectorEncoder
from kshot.errors import BundleError, DataError, SettingError, TaskError
from kshot.learners import Adapted, Learner, Transfer
from kshot.seeds import drawing, generator
from kshot.vision import is_boxes, omniglot

DATA_HELP = (
    "What to learn from: a folder with one subfolder of pictures per class, a .csv or .jsonl table of picture paths, "
    "of numbers or of texts, an .npz file of arrays x and y, 'glyphs' (drawn by kshot itself), 'digits' "
    "(scikit-learn's scans), or 'omniglot:PATH'. For a detector: pictures with marked boxes, as a COCO .json file or a "
    "folder of VOC .xml files."
)


@dataclass(frozen=True)
class Parts:
    """Pools of disjoint classes; `test` may be empty of use where the classes are few."""

    train: Pool
    validation: Pool
    test: Pool


def pool(
    data: str,
    *,
    columns: Columns | None = None,
    seed: int = 0,
    glyphs: int = 300,
    skip_unreadable: bool = False,
) -> Pool:
    """The pool that DATA names. `omniglot:PATH` is the 423 test characters.

    Args:
        columns: of a table, which are the input and the label; of an .npz file, which arrays.

    Raises:
        DataError: nothing of a known kind is there. SettingError: columns of what is no table.
    """
    path, chosen = Path(data), columns or Columns()
    if is_boxes(path):
        return boxes_pool(path)
    if path.is_file() and is_table(path):
        table = Table.read(path)
        return table.pool(chosen.of(table), chosen.label, chosen.kind)
    if path.is_file() and path.suffix.lower() == ".npz":
        return npz(path, chosen.input[0] if chosen.input else None, chosen.label)
    if chosen.input or chosen.label:
        raise SettingError(
            f"--input {list(chosen.input)} and --label {chosen.label} name columns of a table; {data} is none: leave "
            "them out, or give a .csv, .tsv, .jsonl or .npz file"
        )
    if data == "glyphs":
        drawn = GlyphFamily().draw(glyphs, 20, generator(seed, "data", "glyphs"))
        return Pool(drawn.flatten(0, 1), [f"glyph {k // 20}" for k in range(20 * glyphs)], "glyphs")
    if data == "digits":
        return digits()
    folder = _omniglot(data)
    if folder is not None:
        return omniglot_test(folder)
    return read(path, skip_unreadable=True) if skip_unreadable and path.is_dir() else read(path)


def parts(data: str, *, columns: Columns | None = None, seed: int = 0, glyphs: int = 500) -> Parts:
    """Training, validation and test classes of DATA: the usual split of Omniglot, else 60 / 20 / 20 % by seed.

    Raises:
        TaskError: too few classes to train on some and judge on others.
    """
    folder = _omniglot(data)
    if folder is not None:
        found = omniglot(folder)
        return Parts(found.train.pool, found.validation.pool, found.test.pool)
    whole = pool(data, columns=columns, seed=seed, glyphs=glyphs)
    count = len(whole.classes)
    if min(part_sizes(count, SHARES)) < 2:
        raise TaskError(
            f"{data} has {count} classes; meta-training learns from some classes and is judged on others, so it needs "
            "about 10 or more: to recognise just these classes, adapt a ready base: kshot adapt BASE "
            f"{data} -o task.kshot"
        )
    train, validation, test = whole.split(*SHARES, seed=seed)
    return Parts(rotations(train) if data == "glyphs" else train, validation, test)


def _omniglot(data: str) -> Path | None:
    if data.startswith("omniglot:"):
        path = Path(data.removeprefix("omniglot:"))
        found = omniglot_folder(path)
        if found is None:
            raise DataError(
                f"{path} holds no Omniglot files; give the folder that holds omniglot_28x28_uint8.npz"
            )
        return found
    path = Path(data)
    return omniglot_folder(path) if path.is_dir() else None


def labels(source: Pool) -> list[Any]:
    """The label of each example, in the order of the inputs; or its marked pieces."""
    if isinstance(source, MarkedPool):
        return source.pieces
    return [source.classes[int(target)] for target in source.targets]


def names(source: Pool, root: Path) -> list[str] | None:
    """A name per example that people recognise: the picture's path below `root`, or FILE:ROW of a table; None where
    there are neither."""
    if isinstance(source, MarkedPool):
        return source.names
    if not isinstance(source.inputs, Pictures):
        return [f"{root.name}:{row}" for row in range(1, len(source) + 1)] if root.is_file() else None
    found, root = [], root.parent if root.is_file() else root
    for name in source.inputs.paths:
        path = Path(name)
        found.append((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())
    return found


def base_of(name: str) -> Learner:
    """A meta-trained base by name or path, a downloaded encoder with a new logistic layer per task, or a classifier
    on a text encoder that is named by a string.

    Raises:
        BundleError: not there, damaged, or an adapted task.
    """
    if not Path(name).exists() and text.is_spec(name):
        return text.classifier(name)
    if not Path(name).exists() and recipes.downloaded(name):
        network = encoders.torchvision(name, pretrained=True)
        with drawing(torch.device("cpu"), 0, "unused classifier"):  # the same base each time
            return Transfer(network, classes=2).eval()
    if is_table(Path(name)) or Path(name).is_dir():
        raise BundleError(
            f"{name} holds data, it is no base; name the base first, for texts hash:ngram: kshot adapt BASE DATA"
        )
    found = load_learned(name)
    if not isinstance(found, Learner):
        raise BundleError(
            f"{name} is an adapted task, not a base; give the base it was made from (see: kshot show {name}), or teach the "
            f"task more: kshot add {name} DATA"
        )
    return found


def task_of(name: str, base: str | None = None) -> Adapted:
    """A saved task by path.

    Raises:
        BundleError: not there, damaged, or a base.
    """
    if is_bank(name):
        raise BundleError(
            f"{name} is a bank of answers, no task; ask it: kshot predict {name} --text 'A TEXT'"
        )
    found = load_learned(name, base=base_of(base) if base else None)
    if not isinstance(found, Adapted):
        raise BundleError(
            f"{name} is a base that has learned no task yet; teach it: kshot adapt {name} FOLDER -o task.kshot"
        )
    return found


def is_bank(name: str) -> bool:
    """Does a file hold a bank of answers?"""
    path = Path(name)
    return path.is_file() and (storage.peek(path) or {}).get("what") == "answers"


def bank_of(name: str, base: str | None = None) -> text.AnswerBank:
    """A saved bank of answers by path.

    Raises:
        BundleError: a damaged file. SettingError: a base is named, which a bank has none of.
    """
    if base is not None:
        raise SettingError(
            f"--base is {base}, but {name} is a bank of answers, which names its encoder itself: leave it out"
        )
    return text.load_answers(name)


def check_fits(encoder: Encoder, source: Pool) -> None:
    """Raise DataError where a pool holds other inputs than an encoder takes."""
    if isinstance(source, MarkedPool) and all(isinstance(item, Path) for item in source.inputs):
        if encoder.modality != "image":
            raise DataError(
                f"{source.name} holds pictures with boxes; this base takes {encoder.modality} inputs: choose a "
                "detector, for example scenes"
            )
        return
    kind, modality = kind_of(source.inputs), encoder.modality
    wanted = {"image": "images", "vector": "rows", "text": "texts"}.get(modality, kind)
    if kind not in (wanted, "examples"):
        raise DataError(
            f"{source.name or 'the data'} holds {kind}; this base takes {wanted}: choose a base for {kind}"
            f"{', for example hash:ngram' if kind == 'texts' else ''}, or name other columns with --input"
        )
    if isinstance(encoder, VectorEncoder) and source.inputs.shape[1] != encoder.inputs:
        raise DataError(
            f"{source.name or 'the data'} holds rows of {source.inputs.shape[1]} numbers; this base takes rows of "
            f"{encoder.inputs}: name its columns, in its order, each with --input"
        )
