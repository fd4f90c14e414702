"""Exported tasks in ONNX Runtime answer as the tasks do, and the file says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.encoders import Encoder
from kshot.errors import SettingError, UnsupportedError
from kshot.exporting import OPSET, program
from kshot.learners import Adapted
from kshot.seeds import generator

HEADS = ("prototype", "ridge", "kernel_ridge", "lda", "bayesian")
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "run_onnx.py"


def images(size: int, channels: int) -> Callable[[int], Tensor]:
    return lambda n: torch.rand(n, channels, size, size, generator=generator(n, "images"))


def rows(n: int) -> Tensor:
    return torch.randn(n, 3, generator=generator(n, "rows"))


ENCODERS: dict[str, tuple[Callable[[], Encoder], Callable[[int], Tensor]]] = {
    "conv4": (lambda: kshot.encoders.conv4(width=8, mean=[0.4], std=[0.3]), images(28, 1)),
    "resnet12": (lambda: kshot.encoders.resnet12(widths=(4, 8, 8, 16), size=32), images(32, 3)),
    "torchvision": (lambda: kshot.encoders.torchvision("squeezenet1_1", size=64), images(64, 3)),
    "mlp": (lambda: kshot.encoders.mlp(3, (8,), mean=[0.1, 0, 0], std=[2, 1, 1]), rows),
    "identity": (lambda: kshot.encoders.identity(3), rows),
    "scaled": (lambda: kshot.encoders.ScaledRows.fitted(rows(20)), rows),
}


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def asked(path: Path, given: list[Tensor]) -> dict[str, np.ndarray]:
    run = session(path)
    names = [o.name for o in run.get_outputs()]
    feed = {i.name: x.numpy() for i, x in zip(run.get_inputs(), given, strict=True)}
    return dict(zip(names, run.run(names, feed), strict=True))


def threshold_of(task: Adapted) -> float:
    return task.knowledge.sureness.threshold() if task.knowledge else float(task.learner.threshold)


def equal(task: Adapted, path: Path, queries: Any) -> dict[str, np.ndarray]:
    """Answers of the file, after comparing them with the task's, in batches of several sizes."""
    read = task.learner.encoder.read(queries)
    found: dict[str, np.ndarray] = {}
    for count in (1, 3, len(read)):
        found = asked(path, task.learner.encoder.to_graph(read[:count]))
        wanted = task.predict(read[:count])
        np.testing.assert_allclose(found["probabilities"], wanted.probabilities, atol=1e-4)
        np.testing.assert_allclose(found["scores"], wanted.scores, atol=1e-4, rtol=1e-4)
        assert [str(label) for label in found["labels"]] == [str(label) for label in wanted.labels]
        # a score that is the threshold up to rounding may fall to either side
        clear = np.abs(wanted.scores - threshold_of(task)) > 2e-4 * np.maximum(1, np.abs(wanted.scores))
        assert found["unknown"][clear].tolist() == wanted.unknown[clear].tolist()
    return found


@pytest.fixture(scope="module")
def drawn() -> tuple[Adapted, Tensor]:
    """Three characters taught to the bundled base, and drawings of these and of five others."""
    base = kshot.load("glyphs")
    assert isinstance(base, kshot.Learner)
    made = kshot.data.GlyphFamily(scan=0.2).draw(8, 6, generator(3, "onnx")).unsqueeze(2)
    task = base.adapt(list(made[:3, :4].flatten(0, 1)), [f"glyph {n}" for n in range(3) for _ in range(4)])
    return task, made[:, 4:].flatten(0, 1)


@pytest.fixture(scope="module")
def file(drawn: tuple[Adapted, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    drawn[0].save(folder / "drawn.kshot")
    done = CliRunner().invoke(app, ["export", str(folder / "drawn.kshot"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output.splitlines()[-1])
    path = folder / "drawn.onnx"
    assert told == {"kshot": str(path), "bytes": path.stat().st_size, "opset": OPSET}
    return path


def test_the_bundled_base_with_temperature_and_unknown(drawn: tuple[Adapted, Tensor], file: Path) -> None:
    task, queries = drawn
    found = equal(task, file, list(queries))
    assert found["unknown"].any()  # else the threshold was not tried
    assert not found["unknown"].all()
    assert set(found["labels"]) <= {"glyph 0", "glyph 1", "glyph 2"}


def test_the_file_says_what_it_is(drawn: tuple[Adapted, Tensor], file: Path) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert str(Path(kshot.__file__).parent).encode() not in file.read_bytes()
    about = json.loads({p.key: p.value for p in model.metadata_props}["kshot"])
    assert about["space"]["labels"] == ["glyph 0", "glyph 1", "glyph 2"]
    assert about["inputs"][0]["shape"] == ["n", 1, 28, 28]
    assert about["base"] == {"name": "glyphs", "encoder": drawn[0].learner.encoder.fingerprint()}
    assert about["temperature"] == drawn[0].temperature
    assert about["opset"] == OPSET == next(o.version for o in model.opset_import if not o.domain)


def test_the_example_runs_it_without_kshot_and_torch(
    drawn: tuple[Adapted, Tensor], file: Path, tmp_path: Path
) -> None:
    task, queries = drawn
    from PIL import Image

    large = Image.fromarray(queries[0, 0].numpy()).resize((90, 120), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    hidden = "import sys; sys.modules['torch'] = sys.modules['kshot'] = None; import runpy; sys.argv = sys.argv[1:]; "
    code = hidden + f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, "run_onnx.py", str(file), str(tmp_path / "a.png")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    own = task.predict([tmp_path / "a.png"])
    assert (told["label"], told["unknown"]) == (own.labels[0], bool(own.unknown[0]))
    assert list(told["probabilities"].values()) == pytest.approx(own.probabilities[0], abs=2e-3)


def test_features_alone_where_the_encoder_is_no_graph(tmp_path: Path) -> None:
    task = kshot.text.classifier("hash:ngram?dim=64").adapt(["a b", "a c", "d e", "d f"], [1, 1, 7, 7])
    with pytest.raises(UnsupportedError, match="inputs='features'"):
        task.export(tmp_path / "task.onnx")
    assert list(tmp_path.iterdir()) == []
    path = task.export(tmp_path / "task.onnx", inputs="features")
    embedded = task.embed(["a b c", "e"])
    found = asked(path, [embedded])
    np.testing.assert_allclose(
        found["probabilities"], task.answer_embedded(embedded).probabilities, atol=1e-4
    )
    assert found["labels"].dtype == np.int64
    assert found["labels"].tolist() == [1, 7]


def test_what_cannot_be_a_graph_says_so(tmp_path: Path) -> None:
    learner = kshot.learners.maml(kshot.encoders.mlp(3, (4,)), outputs=2, regime="transductive")
    with pytest.raises(UnsupportedError, match="regime='inductive'"):
        learner.adapt(rows(4), list("aabb")).export(tmp_path / "task.onnx")
    task = kshot.learners.ProtoNet(kshot.encoders.identity(3)).adapt(rows(4), list("aabb"))
    with pytest.raises(SettingError, match="'pixels'"):
        task.export(tmp_path / "task.onnx", inputs="pixels")
    moved = kshot.learners.GradientLearner(kshot.encoders.mlp(3, (4,)), outputs=2).adapt(
        rows(4), list("aabb")
    )
    with pytest.raises(UnsupportedError, match="inside the encoder"):
        program(moved, inputs="features")


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_on_every_encoder(head: str, encoder: str, tmp_path: Path) -> None:
    make, draw = ENCODERS[encoder]
    with kshot.seeds.drawing(torch.device("cpu"), 0, encoder):  # the same weights each time
        learner = kshot.learners.ClosedForm(make(), head).eval()
    learner.temperature.fill_(0.7)
    task = learner.adapt(draw(9), list("aaabbbccc"))
    learner.threshold.fill_(float(np.median(task.predict(draw(12)).scores)))
    equal(task, task.export(tmp_path / "task.onnx"), draw(12))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "bayesian"])
def test_numbers(head: str, tmp_path: Path) -> None:
    x = rows(12)
    task = kshot.learners.ClosedForm(kshot.encoders.mlp(3, (8,)), head).adapt(
        x[:8], (x @ x.T)[:8, :1].double()
    )
    found, wanted = asked(task.export(tmp_path / "task.onnx"), [x]), task.predict(x)
    np.testing.assert_allclose(found["values"], wanted.values, atol=1e-4, rtol=1e-4)
    if head == "bayesian":
        np.testing.assert_allclose(found["deviations"], wanted.deviations, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["full", "head", "film", "lora", "adapter", "neural_process", "logistic", "fine_tune"]
)
def test_learners_that_move_numbers(kind: str, tmp_path: Path) -> None:
    encoder, draw = kshot.encoders.conv4(width=8), images(28, 1)
    makers: dict[str, Callable[[], kshot.Learner]] = {
        "adapter": lambda: kshot.learners.Adapter(encoder, "film", steps=3),
        "neural_process": lambda: kshot.learners.NeuralProcess(encoder, width=8),
        "logistic": lambda: kshot.learners.Transfer(encoder, 5),
        "fine_tune": lambda: kshot.learners.Transfer(encoder, 5, "fine_tune", steps=5),
    }
    make = makers.get(kind, lambda: kshot.learners.GradientLearner(encoder, outputs=3, moves=kind))
    task = make().eval().adapt(draw(9), list("aaabbbccc"))
    equal(task, task.export(tmp_path / "task.onnx"), draw(12))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "mpnet"])
def test_text_models_from_token_ids(family: str, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "text"))
    from tiny_text_models import folder

    learner = kshot.text.classifier(f"path:{folder(tmp_path / family, family)}")
    task = learner.adapt(["where is it", "who is it", "pay me", "pay now"], list("aabb"))
    equal(task, task.export(tmp_path / "task.onnx"), ["is it here", "pay", "where do i pay him now"])
    with pytest.raises(UnsupportedError, match="longer than"):
        learner.encoder.to_graph(["a b c d e f g " * 20])
