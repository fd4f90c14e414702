"""Saved learners and tasks: found again, self-contained, nothing too much inside, nothing else believed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kshot
from kshot import bundles, storage
from kshot.bundles import known
from kshot.encoders import Encoder
from kshot.errors import BundleError
from kshot.learners import Learner, save_learner
from kshot.learners.records import fingerprint
from kshot.tasks.spaces import Classes

Makers = dict[str, Callable[[], Learner]]
LEARNERS: Makers = {
    "protonet conv4": lambda: kshot.learners.ProtoNet(kshot.encoders.conv4(8, size=16)),
    "kernel ridge": lambda: kshot.learners.ClosedForm(kshot.encoders.conv4(8, size=16), "kernel_ridge"),
    "lda": lambda: kshot.learners.ClosedForm(kshot.encoders.conv4(8, size=16), "lda"),
    "maml": lambda: kshot.learners.maml(kshot.encoders.conv4(8, size=16), outputs=2, steps=2),
    "meta-sgd, lora": lambda: kshot.learners.meta_sgd(
        kshot.encoders.conv4(8, size=16), outputs=3, moves="lora:2"
    ),
}


@pytest.fixture
def base() -> Learner:
    torch.manual_seed(0)
    return kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,))).eval()


def pictures(count: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=rng)


def rows(count: int) -> torch.Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(2))


def answers(task: kshot.Adapted, inputs: Any) -> tuple[Any, ...]:
    answer = task.predict(inputs)
    return answer.labels, answer.probabilities.tobytes(), answer.scores.tobytes(), answer.unknown.tobytes()


@pytest.mark.parametrize("name", LEARNERS)
def test_saved_tasks_answer_bit_for_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = LEARNERS[name]().eval()
    task = learner.adapt(pictures(6), ["a", "b", "a", "c", "c", "b"])
    path = task.save(tmp_path / "task.kshot", include_base=True)
    loaded = kshot.load(path)
    assert isinstance(loaded, kshot.Adapted)
    assert answers(loaded, pictures(20)) == answers(task, pictures(20))
    assert fingerprint(loaded.learner) == fingerprint(learner)
    assert (loaded.ids, loaded.space) == (task.ids, task.space)


def test_a_grown_and_shrunk_task_answers_bit_for_bit_after_loading(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = LEARNERS["protonet conv4"]().eval()
    task = learner.adapt(pictures(6)[:3], ["a", "b", "a"]).add(pictures(6)[3:], ["c", "c", "b"]).remove("e0")
    loaded = kshot.load(task.save(tmp_path / "task.kshot", include_base=True))
    assert answers(loaded, pictures(20)) == answers(task, pictures(20))
    assert loaded.ids == ("e1", "e2", "e3", "e4", "e5")


def test_a_fresh_process_answers_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learner = LEARNERS["protonet conv4"]().eval()
    task = learner.adapt(pictures(6), ["a", "b", "a", "c", "c", "b"])
    task.save(tmp_path / "task.kshot", include_base=True)
    save_learner(learner, tmp_path / "base.kshot")
    storage.write(tmp_path / "queries.kshot", {}, {"images": pictures(20)})
    program = (
        "import pathlib, sys, torch, kshot; torch.set_num_threads(1); folder = sys.argv[1]\n"
        "images = kshot.storage.read(pathlib.Path(folder) / 'queries.kshot')[1]['images']\n"
        "answer = kshot.load(folder + '/task.kshot').predict(images)\n"
        "sys.stdout.write(answer.probabilities.tobytes().hex() + ' ' + answer.scores.tobytes().hex())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = task.predict(pictures(20))
    assert ran.stdout == f"{answer.probabilities.tobytes().hex()} {answer.scores.tobytes().hex()}"


def test_numbers_and_their_deviations_survive(tmp_path: Path) -> None:
    learner = kshot.learners.ClosedForm(kshot.encoders.identity(4), "bayesian")
    task = learner.adapt(rows(5), np.float32([0.1, 0.2, 0.3, 0.4, 1e-20]))
    loaded = kshot.load(task.save(tmp_path / "t.kshot", include_base=True))
    one, other = task.predict(rows(9)), loaded.predict(rows(9))
    assert one.values.tobytes() == other.values.tobytes()
    assert one.deviations.tobytes() == other.deviations.tobytes()


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_bases_of_other_number_types_come_back_as_they_were(
    kind: torch.dtype, base: Learner, tmp_path: Path
) -> None:
    save_learner(base.to(kind), tmp_path / "base.kshot")
    loaded = kshot.load(tmp_path / "base.kshot")
    assert fingerprint(loaded) == fingerprint(base)
    assert {p.dtype for p in loaded.parameters()} == {kind}


def test_fingerprints_tell_type_shape_and_settings_apart() -> None:
    class Own(kshot.learners.ProtoNet):
        def __init__(self, extra: torch.Tensor) -> None:
            super().__init__(kshot.encoders.identity(2))
            self.extra = nn.Parameter(extra)

    zeros = torch.zeros(2, 2)
    alike = [zeros, zeros.reshape(4), zeros.reshape(1, 4), zeros.int().float().half().float()[:1]]
    same_bytes = [zeros.half().reshape(4), zeros.bfloat16().reshape(4), zeros[:1].double().reshape(2)[:1]]
    prints = [fingerprint(Own(t)) for t in [*alike, *same_bytes]]
    assert len(set(prints)) == len(prints)
    heads = [kshot.learners.ClosedForm(kshot.encoders.identity(2), head) for head in ("prototype", "lda")]
    assert fingerprint(heads[0]) != fingerprint(heads[1])
    assert fingerprint(Own(zeros)) == fingerprint(Own(zeros.t()))  # memory order is no content


def test_a_setting_added_later_leaves_old_fingerprints_alone() -> None:
    class Old(kshot.encoders.Identity):
        def __init__(self, inputs: int, scale: float = 1.0) -> None:
            super().__init__(inputs)
            self.scale = scale

    class New(Old):
        def __init__(self, inputs: int, scale: float = 1.0, bias: tuple[int, ...] = (0, 0)) -> None:
            super().__init__(inputs, scale)
            self.bias = bias

        def config(self) -> dict[str, Any]:
            return {"inputs": self.inputs, "scale": self.scale, "bias": list(self.bias)}

    assert Old(2).fingerprint() == New(2).fingerprint()
    assert len({New(2).fingerprint(), New(2, 2.0).fingerprint(), New(2, bias=(0, 1)).fingerprint()}) == 3


# ---- where the base is found


def test_a_base_without_a_name_goes_along_since_nothing_could_find_it(
    base: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KSHOT_HOME", raising=False)
    task = base.adapt(rows(2), ["a", "b"])
    assert answers(kshot.load(task.save(tmp_path / "t.kshot")), rows(3)) == answers(task, rows(3))
    glyphs = kshot.load("glyphs").adapt(pictures(2), ["a", "b"])
    alone, whole = (glyphs.save(tmp_path / f"{i}.kshot", include_base=i) for i in (None, True))
    assert alone.stat().st_size * 10 < whole.stat().st_size  # found by its name, so not written
    assert answers(kshot.load(alone), pictures(3)) == answers(glyphs, pictures(3))


def test_the_base_is_found_beside_the_task_in_home_or_given(
    base: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KSHOT_HOME", raising=False)
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "tasks" / "t.kshot", include_base=False)
    with pytest.raises(BundleError, match=r"was not found beside it, in KSHOT_HOME, or bundled; give it"):
        kshot.load(path)
    assert kshot.load(path, base=base).predict(rows(1)).labels
    save_learner(base, tmp_path / "home" / "another name.kshot")
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    assert kshot.load(path).learner.name == "another name"
    assert isinstance(kshot.load("another name"), Learner)
    monkeypatch.delenv("KSHOT_HOME")
    save_learner(base, tmp_path / "tasks" / "base.v1.2.kshot")
    assert kshot.load(path).learner.name == "base.v1.2"


def test_a_damaged_neighbour_does_not_stand_in_the_way(base: Learner, tmp_path: Path) -> None:
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=False)
    (tmp_path / "a.kshot").write_bytes(b"rubbish")
    (tmp_path / "b.kshot").write_bytes(path.read_bytes()[:200])
    (tmp_path / "c.kshot").mkdir()
    save_learner(base, tmp_path / "z.kshot")
    assert kshot.load(path).predict(rows(1)).labels


def test_another_base_is_an_error_that_names_both(base: Learner, tmp_path: Path) -> None:
    base.name = "first"
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=False)
    other = kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,)))
    with pytest.raises(
        BundleError, match=rf"another base \(first, {fingerprint(base)[:12]}\).*then task.rebase"
    ):
        kshot.load(path, base=other)


def test_a_self_contained_task_needs_nothing_else(base: Learner, tmp_path: Path) -> None:
    base.card = {"made": "by hand"}
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=True)
    loaded = kshot.load(path)
    assert dict(loaded.learner.card) == {"made": "by hand"}
    again = kshot.load(loaded.save(tmp_path / "again.kshot", include_base=True))
    assert answers(again, rows(5)) == answers(loaded, rows(5))


def test_unknown_names_list_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(
        BundleError, match=r"'glyfs' is neither a file nor a base by name; bundled bases are \["
    ):
        kshot.load("glyfs")


# ---- what is inside


@pytest.mark.parametrize("include_base", [False, True])
def test_a_saved_task_holds_nothing_of_the_pool_it_was_cut_from(
    base: Learner, tmp_path: Path, include_base: bool
) -> None:
    pool = torch.full((500, 4), 1234.5)
    pool[7:9] = rows(2)
    task = base.adapt(pool[7:9], ["a", "b"])
    blob = task.save(tmp_path / "t.kshot", include_base=include_base).read_bytes()
    assert torch.tensor([1234.5]).numpy().tobytes() not in blob
    assert rows(2).numpy().tobytes() in blob


def test_forgotten_examples_are_not_in_the_file(base: Learner, tmp_path: Path) -> None:
    task = base.adapt(rows(3), ["a", "b", "secret label"], ids=["x", "y", "secret id"]).forget("secret id")
    blob = task.save(tmp_path / "t.kshot").read_bytes()
    assert b"secret" not in blob
    assert rows(3)[2].numpy().tobytes() not in blob


@pytest.mark.parametrize(
    "labels",
    [
        (1, True, 1.0, 0, False),
        ("1", "True", "1.0", "None", "null"),
        ("naïve", "漢字", "🙂", "e\u0301", "é"),
        ("", " ", "\n", '"', "\\"),
        ("CON", "a:b", "c/d", "..\\e", "<f>|*?"),
        (-1, 0, 2**62, False, 0.5),
    ],
    ids=["mixed numbers", "words like values", "unicode", "blank", "file names", "numbers"],
)
def test_labels_and_ids_survive_as_they_are(labels: tuple[Any, ...], base: Learner, tmp_path: Path) -> None:
    ids = [f"{place}{label}" for place, label in enumerate(labels)]
    task = base.adapt(rows(5), list(labels), space=Classes(labels), ids=ids)
    loaded = kshot.load(task.save(tmp_path / "t.kshot", include_base=True))
    answered = loaded.predict(rows(5)).labels
    assert [(type(a), a) for a in answered] == [(type(a), a) for a in labels]
    assert loaded.ids == tuple(ids)
    assert [(type(t), t) for t in loaded.targets] == [(type(t), t) for t in labels]


@pytest.mark.parametrize(
    "name", ["with space", "漢字", "dots.v1.2", "semi;colon&'quote'", "-dash", "x" * 200]
)
def test_file_names_of_all_kinds_work(
    name: str, base: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    save_learner(base, tmp_path / f"{name}.kshot")
    assert kshot.load(name).name == name
    assert kshot.load(str(tmp_path / f"{name}.kshot")).name == name


def test_pictures_of_several_sizes_and_numpy_labels_survive(tmp_path: Path) -> None:
    learner = LEARNERS["protonet conv4"]().eval()
    mixed = [Image.new("L", (20 + k, 16), 60 * k) for k in range(4)]
    task = learner.adapt(mixed, np.array([2, 2, 5, 5]))
    loaded = kshot.load(task.save(tmp_path / "t.kshot", include_base=True))
    assert answers(loaded, mixed) == answers(task, mixed)
    assert loaded.predict(mixed[:1]).labels == [2]


# ---- what is not believed


def edit(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]) -> Path:
    """What a person with a program of their own can do: change the content and mend the checksum."""
    manifest, tensors = storage.read(path)
    change(manifest, tensors)
    return storage.write(path, manifest, tensors)


EDITS: dict[str, tuple[Callable[[dict[str, Any], dict[str, torch.Tensor]], Any], str]] = {
    "a label": (lambda m, t: m["targets"].__setitem__(0, "z"), "label 'z' is not one of"),
    "an example": (lambda m, t: t["inputs"].mul_(0.5), "does not fit its content hash"),
    "one id too few": (lambda m, t: m["ids"].pop(), "changed by hand"),
    "no targets": (lambda m, t: m.pop("targets"), "changed by hand"),
    "no inputs": (lambda m, t: t.pop("inputs"), "changed by hand"),
    "inputs of another shape": (lambda m, t: t.update(inputs=torch.zeros(2, 5)), "content hash"),
    "what it is": (lambda m, t: m.update(what="checkpoint"), "holds a 'checkpoint'"),
    "nothing of it": (lambda m, t: m.clear(), "changed by hand"),
    "a space": (
        lambda m, t: m["space"].update(kind="spans of time"),
        "output space 'spans of time' is not known",
    ),
    "a space's labels": (lambda m, t: m["space"].update(labels=7), "changed by hand"),
    "a weight": (lambda m, t: t["base/encoder.layers.0.weight"].mul_(2), "does not fit its own fingerprint"),
    "a weight too few": (lambda m, t: t.pop("base/encoder.layers.0.weight"), "changed by hand"),
    "a weight too many": (lambda m, t: t.update({"base/more": torch.zeros(1)}), "changed by hand"),
    "a shape": (lambda m, t: t.update({"base/encoder.layers.0.bias": torch.zeros(3)}), "changed by hand"),
    "an encoder": (
        lambda m, t: m["base"]["record"]["encoder"].update(kind="gone"),
        "encoder 'gone' is not known",
    ),
    "a learner": (
        lambda m, t: m["base"]["record"]["learner"].update(kind="gone"),
        "learner 'gone' is not known",
    ),
    "a setting": (
        lambda m, t: m["base"]["record"]["encoder"]["config"].update(inputs="4"),
        "changed by hand",
    ),
    "a new setting": (lambda m, t: m["base"]["record"]["encoder"]["config"].update(x=1), "changed by hand"),
    "a list for a record": (lambda m, t: m.update(base=[]), "changed by hand"),
}


@pytest.mark.parametrize("what", EDITS)
def test_hand_edited_tasks_are_refused(what: str, base: Learner, tmp_path: Path) -> None:
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=True)
    change, message = EDITS[what]
    with pytest.raises(BundleError, match=message):
        kshot.load(edit(path, change))


def test_every_flipped_byte_of_a_task_is_an_error(base: Learner, tmp_path: Path) -> None:
    small = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    path = small.adapt(torch.eye(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=True)
    blob, chance = path.read_bytes(), random.Random(0)
    for place in range(len(blob)):
        path.write_bytes(blob[:place] + bytes([blob[place] ^ 1 << chance.randrange(8)]) + blob[place + 1 :])
        with pytest.raises(BundleError, match="damaged or cut off"):
            kshot.load(path)


def test_truncated_bundles_are_an_error(base: Learner, tmp_path: Path) -> None:
    path = save_learner(base, str(tmp_path / "b.kshot"))
    blob = path.read_bytes()
    for length in [*range(0, len(blob), 37), len(blob) - 1]:
        path.write_bytes(blob[:length])
        with pytest.raises(BundleError, match="damaged or cut off"):
            kshot.load(path)


def test_an_unknown_encoder_says_how_to_make_it_known(base: Learner, tmp_path: Path) -> None:
    class Mine(kshot.encoders.Identity):
        kind = "mine"

    path = save_learner(kshot.learners.ProtoNet(Mine(2)), tmp_path / "b.kshot")
    with pytest.raises(BundleError, match=r"encoder 'mine' is not known.*kshot.bundles.register_encoder"):
        kshot.load(path)
    bundles.register_encoder(Mine)
    try:
        loaded = kshot.load(path)
        assert isinstance(loaded, Learner)
        assert isinstance(loaded.encoder, Mine)
        assert isinstance(loaded.encoder, Encoder)
    finally:
        del known._ENCODERS["mine"]


def test_a_newer_bundle_asks_for_an_upgrade(
    base: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.files, "FORMAT", storage.FORMAT + 1)
    path = save_learner(base, tmp_path / "b.kshot")
    monkeypatch.undo()
    with pytest.raises(BundleError, match="upgrade kshot to open it"):
        kshot.load(path)


def test_a_training_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a file nor a base"):
        kshot.load(tmp_path)


def test_manifests_are_plain_json(base: Learner, tmp_path: Path) -> None:
    path = base.adapt(rows(2), ["a", "b"]).save(tmp_path / "t.kshot", include_base=False)
    manifest = storage.peek(path)
    assert manifest is not None
    assert json.loads(json.dumps(manifest)) == manifest
    assert sorted(manifest) == [
        "base",
        "digests",
        "format",
        "ids",
        "inputs",
        "modality",
        "space",
        "targets",
        "what",
    ]
