"""The detector: what it learns, files, bad boxes. Its contract is in tests/contracts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import kshot
from kshot.errors import BundleError, DataError, InputWarning, SettingError
from kshot.seeds import generator
from kshot.tasks import Task
from kshot.vision import (
    Detector,
    GlyphScenes,
    TorchVisionMaps,
    detector,
    is_boxes,
    read_boxes,
    write_coco,
    write_voc,
)
from kshot.vision.detection import closer, untrained


def glyphs(classes: int = 8, drawings: int = 4) -> Tensor:
    """Bars, rings and the like: told apart at a few pixels."""
    found = torch.zeros(classes, drawings, 16, 16, dtype=torch.uint8)
    for n in range(classes):
        for bit, cut in enumerate((slice(0, 5), slice(5, 11), slice(11, 16))):
            if (n + 1) >> bit & 1:
                found[n, :, cut, 2:14] = 255
        found[n, :, :, 6:10] = 255
    return found


SOURCE = GlyphScenes(
    glyphs(), size=32, ways=2, shots=1, queries=1, targets=(1, 2), sides=(10, 14), marked=True
)


@pytest.fixture(scope="module")
def learner() -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = untrained(size=48, features=16)
    source = SOURCE.using(size=48, shots=2, queries=2, sides=(12, 18), crowd=True)
    run = kshot.fit(
        start, source, steps=60, rate=0.01, clip=10.0, validation_tasks=1, validate_every=60, progress=False
    )
    found = run.learner
    assert isinstance(found, Detector)
    found.seen = torch.zeros(0)  # these tests also show it what it never saw
    return found


def drawn(seed: int = 0) -> Task:
    return SOURCE.using(size=48, shots=3, queries=8, sides=(12, 18)).sample(generator(seed, "drawn"))


def test_it_finds_and_names_new_characters(learner: Detector) -> None:
    tests = SOURCE.using(size=48, shots=3, queries=4, sides=(12, 18), marked=False)
    report = kshot.evaluate(learner, tests, tasks=4, seed=3, timed=0)
    untaught = kshot.evaluate(untrained(size=48, features=16), tests, tasks=2, seed=3, timed=0)
    assert report.metric == "ap50"
    assert report.mean > 0.3 > 0.05 > untaught.mean


def test_pictures_with_boxes_as_the_issue_writes_it(learner: Detector, tmp_path: Path) -> None:
    task = drawn()
    assert task.support is not None
    examples = [
        (x, torch.tensor([box[:4] for box in boxes]).reshape(-1, 4), [box[4] for box in boxes])
        for x, boxes in zip(task.support.inputs, task.support.targets, strict=True)
    ]
    taught = learner.adapt(examples)
    again = learner.adapt(list(task.support.inputs), task.support.targets)
    assert taught.predict(task.support.inputs).to_json() == again.predict(task.support.inputs).to_json()
    told = taught.explain(task.support.inputs[:1])
    assert len(told.evidence) == len(task.support)
    loaded = kshot.load(taught.save(tmp_path / "t.kshot", include_base=True))
    assert isinstance(loaded, kshot.Adapted)
    assert loaded.predict(task.support.inputs).to_json() == taught.predict(task.support.inputs).to_json()


def test_pictures_of_many_shapes_are_answered_in_their_own_pixels(learner: Detector) -> None:
    """A picture twice as large has boxes twice as large; unequal shapes go together."""
    task = drawn(1)
    assert task.support is not None
    assert task.query is not None
    taught = learner.adapt(task.support)
    small_ones = task.query.inputs
    large = torch.nn.functional.interpolate(small_ones, scale_factor=2, mode="nearest")
    wide = torch.nn.functional.pad(small_ones[0], (0, 16))
    found = taught.predict([small_ones[0], large[0], wide])
    assert len(found) == 3
    assert all(0 <= box.left < box.right <= 64 for box in found.boxes[2] + found.unknown[2])

    def boxes(pictures: Any) -> Any:
        outputs = taught.outputs(taught.embed(learner.encoder.read(pictures)))
        return taught.space.decode(outputs, least=0.1).boxes  # hardly trained, so hardly sure

    many = boxes(list(small_ones)), boxes(list(large))
    pairs = [(a, b) for mine, theirs in zip(*many, strict=True) for a, b in zip(mine, theirs, strict=False)]
    close = [abs(2 * a.left - b.left) < 4 and a.label == b.label for a, b in pairs]
    assert len(close) > 3
    assert np.mean(close) > 0.7


def test_a_support_corrects_where_and_how_large(learner: Detector) -> None:
    """With `firmness` the support's own boxes move the sides: all twice as wide as what was meta-trained."""
    spec = {**learner.config()["localiser"], "firmness": 1.0}
    own = Detector(learner.encoder, spec)
    own.load_state_dict(learner.state_dict())
    task = drawn(2)
    assert task.support is not None
    assert task.query is not None

    def widened(targets: Any) -> Any:
        return [
            [
                (max(0.0, a - (c - a) / 2), b, min(48.0, c + (c - a) / 2), d, label)
                for a, b, c, d, label in boxes
            ]
            for boxes in targets
        ]

    wide = own.eval().adapt(task.support.inputs, widened(task.support.targets))
    as_ever = learner.adapt(task.support.inputs, widened(task.support.targets))
    wanted = widened(task.query.targets)

    def width(found: Any) -> float:
        boxes = [box for own in found.boxes for box in own] + [box for own in found.unknown for box in own]
        assert boxes
        return float(np.mean([box.right - box.left for box in boxes]))

    goal = float(np.mean([box[2] - box[0] for boxes in wanted for box in boxes]))
    before, after = (width(t.predict(task.query.inputs)) for t in (as_ever, wide))
    assert abs(after - goal) < abs(before - goal)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((10, 10, 60, 20, "a"), "reaches beyond the picture, which is 48 x 48"),
        ((-5, 10, 20, 20, "a"), "reaches beyond the picture"),
        ((10, 10, 10, 20, "a"), "has no area"),
        ((20, 10, 10, 20, "a"), "in another order"),
        ((10, 10, float("nan"), 20, "a"), "NaN or infinite"),
        (("x", 10, 20, 20, "a"), "is no number"),
        ((10, 10, 20, "a"), "has 4 values"),
    ],
)
def test_boxes_that_cannot_be(learner: Detector, box: Any, said: str) -> None:
    pictures = torch.zeros(2, 1, 48, 48)
    with pytest.raises(DataError, match=said):
        learner.adapt(pictures, [[(1, 1, 9, 9, "a")], [box]])
    task = learner.adapt(pictures, [[(1, 1, 9, 9, "a")], []])
    with pytest.raises(DataError, match=said):
        task.add(pictures[:1], [[box]])


def test_triples_are_added_as_they_are_adapted_to(learner: Detector) -> None:
    picture = torch.zeros(1, 48, 48)
    task = learner.adapt([(picture, [(1, 1, 9, 9)], ["a"])])
    more = task.add([(picture, [(20, 20, 30, 30)], ["b"])])
    assert more.space.labels == ("a", "b")
    assert len(more) == 2


@pytest.mark.parametrize("by_parts", [False, True])
def test_a_task_grows_is_checked_and_forgets(learner: Detector, tmp_path: Path, by_parts: bool) -> None:
    """Both ways to name: growing equals adapting afresh, golden checks hold or not, what is forgotten is not in the file."""
    drawing, base = drawn(3), closer(learner) if by_parts else learner
    assert drawing.support is not None
    assert drawing.query is not None
    pictures, targets, asked = list(drawing.support.inputs), drawing.support.targets, drawing.query.inputs
    whole = base.adapt(pictures, targets)
    task = base.adapt(pictures[:-1], targets[:-1]).add(pictures[-1:], targets[-1:])
    outputs = [one.outputs(one.embed(asked)) for one in (task, whole, task.remove(task.ids[-1]))]
    assert torch.allclose(outputs[0].scores, outputs[1].scores, atol=1e-4)
    assert len(task.explain(asked[:1]).evidence) == len(pictures)
    assert task.self_estimate().judged == len(pictures)
    assert all(suspect.piece for suspect in task.suspect_labels())
    gone = task.forget(task.ids[-1])
    assert torch.allclose(outputs[2].scores, gone.outputs(gone.embed(asked)).scores, atol=1e-4)
    nothing = torch.zeros(1, 1, 48, 48)
    assert task.with_golden(nothing, [[]]).check().passed
    assert not task.with_golden(nothing, [[(1, 1, 20, 20, task.space.labels[0])]]).check().passed
    bytes_of = pictures[-1].numpy().tobytes()
    files = [one.save(tmp_path / f"{n}.kshot", include_base=True) for n, one in enumerate((task, gone))]
    assert [bytes_of in file.read_bytes() for file in files] == [True, False]


def test_boxes_that_can_be(learner: Detector) -> None:
    """One class, pictures without boxes, one box within another, ten thousand boxes."""
    pictures = torch.rand(2, 1, 48, 48, generator=generator(0, "pictures"))
    task = learner.adapt(pictures, [[(1, 1, 20, 20, "a"), (2, 2, 19, 19, "b")], []])
    assert len(task.predict(pictures)) == 2
    assert learner.adapt(pictures, [[(1, 1, 20, 20, "a")], []]).space.labels == ("a",)
    low = torch.rand(10_000, 2, generator=generator(0, "boxes")) * 40
    many = [(float(x), float(y), float(x) + 6, float(y) + 6, "a") for x, y in low]
    assert len(learner.adapt(pictures[:1], [many]).predict(pictures)) == 2
    with pytest.raises(DataError, match="0 labelled pieces"):
        learner.adapt(pictures, [[], []])


def test_a_box_that_is_marked_twice(learner: Detector) -> None:
    """With one label it counts once, also among golden checks; with two nobody knows what was meant."""
    picture = torch.rand(1, 1, 48, 48, generator=generator(0, "pictures"))
    once = learner.adapt(picture, [[(1, 1, 20, 20, "a"), (30, 30, 40, 40, "a")]])
    twice = learner.adapt(picture, [[(1, 1, 20, 20, "a"), (30, 30, 40, 40, "a"), (1.0, 1, 20, 20, "a")]])
    assert once.predict(picture).to_json() == twice.predict(picture).to_json()
    said = r"box \(1, 1, 20, 20\) is marked twice, as 'a' and as "
    for other in ("b", None):
        marks = [(1, 1, 20, 20, "a"), (1, 1, 20, 20, other)]
        with pytest.raises(DataError, match=said):
            learner.adapt(picture, [marks])
        with pytest.raises(DataError, match=said):
            once.add(picture, [marks])
        with pytest.raises(DataError, match=said):
            once.with_golden(picture, [marks])


def test_triples_that_do_not_fit(learner: Detector) -> None:
    picture = torch.zeros(1, 48, 48)
    with pytest.raises(DataError, match="2 boxes and 1 labels"):
        learner.adapt([(picture, [(1, 1, 9, 9), (2, 2, 9, 9)], ["a"])])
    with pytest.raises(DataError, match="give \\(picture, boxes, labels\\)"):
        learner.adapt([picture])


def test_coco_and_voc_there_and_back(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    paths = [images / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        Image.new("RGB", (40 + n, 30)).save(path)
    boxes = [
        [(1.0, 2.0, 11.5, 22.0, "cell"), (5.0, 5.0, 39.0, 29.0, "other")],
        [],
        [(0.0, 0.0, 4.0, 4.0, "cell")],
    ]
    coco = read_boxes(write_coco(tmp_path / "boxes.json", paths, boxes))
    write_voc(tmp_path / "xml", paths, boxes)
    voc = read_boxes(tmp_path / "xml")
    for found in (coco, voc):
        assert found.paths == paths
        assert found.targets == boxes
        assert found.labels == ["cell", "other"]
        assert found.sizes == [(40, 30), (41, 30), (42, 30)]
    assert is_boxes(tmp_path)
    assert is_boxes(tmp_path / "xml")
    assert not is_boxes(images)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"images": [{"id": 1}], "annotations": [{}], "categories": []})
    )
    with pytest.raises(DataError, match="no COCO file that makes sense"):
        read_boxes(tmp_path / "a.json")
    whole = {
        "images": [{"id": 1, "file_name": "no.png", "width": 10, "height": 10}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [20, 0, 5, 5]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(whole))
    with pytest.warns(InputWarning, match="1 boxes have no area"), pytest.raises(DataError, match=r"no\.png"):
        read_boxes(tmp_path / "a.json")
    (tmp_path / "a.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(DataError, match="an object has no bndbox"):
        read_boxes(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>')
    with pytest.raises(DataError, match="defines entities"):
        read_boxes(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match="no XML file"):
        read_boxes(tmp_path / "a.xml")
    with pytest.raises(DataError, match="holds no marked boxes"):
        read_boxes(tmp_path / "nowhere")


def test_norms_folded_into_convolutions_answer_the_same(learner: Detector) -> None:
    """With gradients the norm stands alone; without it is folded into the weights."""
    maps = copy.deepcopy(learner.encoder).eval()
    picture = torch.rand(1, 1, 48, 48, generator=generator(0, "pictures"))
    with torch.no_grad():
        folded = maps.maps(picture)
    assert torch.allclose(folded, maps.maps(picture), atol=1e-5)


def test_torchvision_pyramids() -> None:
    maps = TorchVisionMaps("mobilenet_v3_small", size=64, features=8)
    assert maps.eval()(maps.prepare(maps.read(torch.zeros(1, 3, 40, 64)))).shape == (1, 12, 16, 16)
    with pytest.raises(SettingError, match="vit_b_16"):
        TorchVisionMaps("vit_b_16", size=64)
    with pytest.raises(SettingError, match="bundled detector"):
        detector(most=3)
    with pytest.raises(BundleError, match="localiser 'x'"):
        Detector(maps, {"kind": "x"})
