"""Tables and arrays on the command line, on scikit-learn's iris and digits: taught, asked, explained, trained on."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits, load_iris

import kshot
from commands import call, figures
from kshot.encoders import Pixels, TorchVision, identity
from kshot.learners import ClosedForm, ProtoNet, save_learner

NAMES = ("sepal length", "sepal width", "petal length", "petal width")


def write(path: Path, head: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([head, *rows])
    return path


def answers(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def iris() -> tuple[np.ndarray, list[str]]:
    data = load_iris()
    return data.data.astype(np.float32), [str(data.target_names[k]) for k in data.target]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """taught.csv with 5 flowers a kind, asked.* with 9 others without labels, bases of rows and of pixels."""
    top = tmp_path_factory.mktemp("rows")
    x, y = iris()
    taught = [place for place in range(150) if place % 50 < 5]
    write(top / "taught.csv", [*NAMES, "label"], [[*map(repr, x[p].tolist()), y[p]] for p in taught])
    rows = x[[place for place in range(150) if place % 50 in (10, 20, 30)]]
    text = write(top / "asked.csv", list(NAMES), rows.tolist()).read_bytes()
    (top / "asked.csv.gz").write_bytes(gzip.compress(text))
    (top / "asked.jsonl").write_text("".join(json.dumps({"x": row.tolist()}) + "\n" for row in rows))
    np.save(top / "asked.npy", rows)
    np.savez(top / "asked.npz", x=rows)
    save_learner(ProtoNet(identity(4)), top / "rows.kshot")
    save_learner(ProtoNet(Pixels(8)), top / "pixels.kshot")
    call("adapt", top / "rows.kshot", top / "taught.csv", "-o", top / "iris.kshot")
    return top


# ---- asked


@pytest.mark.parametrize("name", ["asked.csv", "asked.csv.gz", "asked.jsonl", "asked.npy", "asked.npz"])
def test_rows_of_any_form_are_answered_as_the_library_does(name: str, root: Path, tmp_path: Path) -> None:
    found = figures(call("predict", root / "iris.kshot", root / name, "--csv", tmp_path / "a.csv", "--json"))
    task = kshot.load(root / "iris.kshot")
    assert isinstance(task, kshot.Adapted)
    wanted = task.predict(np.load(root / "asked.npy"))
    rows = answers(tmp_path / "a.csv")
    assert found["kshot"] == len(rows) == 9
    assert [row["row"] for row in rows] == [f"{root / name}:{k}" for k in range(1, 10)]
    assert [row["label"] for row in rows] == wanted.labels
    assert [float(row["p(virginica)"]) for row in rows] == wanted.probabilities[:, 2].tolist()
    assert wanted.labels == ["setosa"] * 3 + ["versicolor"] * 3 + ["virginica"] * 3


def test_pictures_in_arrays_and_tables_are_answered_as_their_files(root: Path, tmp_path: Path) -> None:
    pictures = load_digits().images.astype(np.uint8) * 15
    (tmp_path / "asked").mkdir()
    for k in range(3):
        Image.fromarray(pictures[k]).save(tmp_path / "asked" / f"{k}.png")
        for j in range(2):
            (tmp_path / "taught" / str(k)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[10 * (j + 1) + k]).save(tmp_path / "taught" / str(k) / f"{j}.png")
    np.save(tmp_path / "asked.npy", pictures[:3])
    np.savez(tmp_path / "asked.npz", masks=np.zeros(3), images=pictures[:3])
    write(tmp_path / "asked.csv", ["path"], [[f"asked/{k}.png"] for k in range(3)])
    call("adapt", root / "pixels.kshot", tmp_path / "taught", "-o", tmp_path / "t.kshot")
    figures_of = []
    for name in ("asked", "asked.npy", "asked.npz", "asked.csv"):
        call("predict", tmp_path / "t.kshot", tmp_path / name, "--csv", tmp_path / "a.csv")
        figures_of.append([[v for k, v in row.items() if k != "file"] for row in answers(tmp_path / "a.csv")])
    assert figures_of[0] == figures_of[1] == figures_of[2] == figures_of[3]
    assert Path(answers(tmp_path / "a.csv")[1]["file"]) == tmp_path / "asked" / "1.png"


def test_several_files_are_answered_one_after_the_other(root: Path, tmp_path: Path) -> None:
    call("predict", root / "iris.kshot", root / "asked.npy", root / "asked.csv", "--csv", tmp_path / "a.csv")
    names = [Path(row["row"]).name for row in answers(tmp_path / "a.csv")]
    assert (names[0], names[9], len(names)) == ("asked.npy:1", "asked.csv:1", 18)


@pytest.mark.parametrize(("head", "sure"), [("bayesian", True), ("ridge", False)])
def test_tasks_of_numbers_answer_with_numbers(head: str, sure: bool, root: Path, tmp_path: Path) -> None:
    x, _ = iris()
    task = ClosedForm(identity(3), head).adapt(x[:40:4, :3], x[:40:4, 3])
    task.save(tmp_path / "width.kshot", include_base=True)
    columns = [word for name in NAMES[:3] for word in ("--input", name)]
    call("predict", tmp_path / "width.kshot", root / "asked.csv", *columns, "--csv", tmp_path / "a.csv")
    wanted = task.predict(np.load(root / "asked.npy")[:, :3])
    rows = answers(tmp_path / "a.csv")
    assert [float(row["value"]) for row in rows] == wanted.values[:, 0].tolist()
    told = [row["deviation"] for row in rows]
    assert told == ([repr(d) for d in wanted.deviations[:, 0].tolist()] if sure else [""] * 9)


def test_rows_that_cannot_be_read_stop_or_are_named_and_counted(root: Path, tmp_path: Path) -> None:
    rows = np.load(root / "asked.npy")
    rows[4, 0] = np.nan
    np.save(tmp_path / "holes.npy", rows)
    stopped = call(
        "predict", root / "iris.kshot", tmp_path / "holes.npy", "--csv", tmp_path / "a.csv", code=2
    )
    assert "holes.npy:5 cannot be read" in stopped.stderr
    assert not (tmp_path / "a.csv").exists()
    passed = call("predict", root / "iris.kshot", tmp_path / "holes.npy", "--skip-unreadable", "--json")
    assert (figures(passed)["kshot"], figures(passed)["skipped"]) == (8, 1)


# ---- taught


def test_rows_taught_in_two_parts_are_the_rows_taught_at_once(root: Path, tmp_path: Path) -> None:
    lines = (root / "taught.csv").read_text().splitlines()
    for name, part in (("one", lines[1:13]), ("two", lines[13:])):
        (tmp_path / f"{name}.csv").write_text("\n".join([lines[0], *part]) + "\n")
    task = tmp_path / "t.kshot"
    call("adapt", root / "rows.kshot", tmp_path / "one.csv", "-o", task)
    added = call("add", task, tmp_path / "two.csv", "--json")
    assert (figures(added)["kshot"], figures(added)["added"]) == (15, 3)
    assert figures(call("show", task, "--json"))["names"][-1] == "two.csv:3"
    for name, file in (("a", task), ("b", root / "iris.kshot")):
        call("predict", file, root / "asked.npy", "--csv", tmp_path / f"{name}.csv")
    assert answers(tmp_path / "a.csv") == answers(tmp_path / "b.csv")
    call("remove", task, "two.csv:3")
    assert figures(call("show", task, "--json"))["examples"] == 14


def test_columns_can_be_named(root: Path, tmp_path: Path) -> None:
    x, y = iris()
    rows = [[k, *x[k].tolist(), y[k]] for k in (0, 1, 60, 61)]
    table = write(tmp_path / "t.csv", ["number", *NAMES, "kind"], rows)
    columns = [word for name in NAMES for word in ("--input", name)]
    found = call(
        "adapt", root / "rows.kshot", table, *columns, "--label", "kind", "-o", tmp_path / "t.kshot", "--json"
    )
    assert (figures(found)["kshot"], figures(found)["classes"]) == (4, 2)
    told = call("check", table, "--label", "kind", *columns, "--json")
    assert (figures(told)["kind"], figures(told)["classes"]) == ("rows", 2)


def test_explaining_a_row_names_rows_and_writes_a_page(root: Path, tmp_path: Path) -> None:
    words = (
        "explain",
        root / "iris.kshot",
        root / "asked.npy",
        "--row",
        5,
        "--html",
        tmp_path / "why.html",
        "--json",
    )
    found = figures(call(*words))
    task = kshot.load(root / "iris.kshot")
    assert isinstance(task, kshot.Adapted)
    asked = np.load(root / "asked.npy")[4]
    wanted = task.explain([asked])
    assert (found["kshot"], found["strongest"]) == (wanted.probability, wanted.evidence[0].id)
    assert found["strongest"].startswith("taught.csv:")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert ", ".join(f"{value:.6g}" for value in asked.tolist()) in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "iris.kshot", "."), "is a folder; this task takes rows of 4 numbers: give a file that ends in"),
        (("predict", "iris.kshot", "why.pdf"), "why.pdf is .pdf; this task takes rows of 4 numbers"),
        (("predict", "iris.kshot", "none.csv"), "none.csv does not exist"),
        (("predict", "iris.kshot", "asked.csv", "--input", NAMES[0]), "1 numbers a row; this task takes rows of 4"),
        (("predict", "iris.kshot", "asked.csv", "--input", "q"), "has no column 'q'"),
        (("predict", "iris.kshot", "asked.npz", "--input", "q"), "holds arrays ['x']; 'q' is not there"),
        (("predict", "iris.kshot", "words.csv"), "holds texts in text; this task takes rows of 4 numbers"),
        (("predict", "iris.kshot", "bad.npy"), "cannot be read as a plain array"),
        (("predict", "iris.kshot", "objects.npy"), "cannot be read as a plain array"),
        (("predict", "iris.kshot", "wide.npy"), "5 numbers a row; this task takes rows of 4 numbers"),
        (("explain", "iris.kshot", "asked.npy"), "holds 9 inputs; say which one with --row, 1 to 9"),
        (("explain", "iris.kshot", "asked.npy", "--row", "10"), "holds 9 inputs, --row is 10"),
        (("explain", "iris.kshot", "."), "is not a file"),
        (("adapt", "pixels.kshot", "taught.csv"), "taught holds rows; this base takes images"),
        (("adapt", "rows.kshot", "wide.npz"), "rows of 5 numbers; this base takes rows of 4"),
        (("adapt", "rows.kshot", "digits", "--label", "y"), "digits is none"),
        (("evaluate", "glyphs", "--data", "taught.csv"), "taught holds rows; this base takes images"),
        (("train", "--data", "taught.csv"), "taught.csv has 3 classes"),
        (("train", "--data", "digits", "--encoder", "mlp"), "encoder mlp is for rows of numbers, digits holds images"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    words: tuple[str, ...], said: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    (root / "why.pdf").write_bytes(b"%PDF")
    (root / "words.csv").write_text("text\nhello\nbye\n")
    (root / "bad.npy").write_bytes(b"no array")
    np.save(root / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(root / "wide.npy", np.zeros((2, 5)))
    np.savez(root / "wide.npz", x=np.zeros((2, 5)), y=np.arange(2))
    assert said in " ".join(call(*words, code=2).stderr.split())


# ---- trained on


def test_a_base_of_rows_finds_its_columns_in_other_tables(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    names = [f"p{k}" for k in range(64)]
    table = write(tmp_path / "digits.csv", [*names, "label"], [[*x[k], f"d{y[k]}"] for k in range(400)])
    base = tmp_path / "base.kshot"
    told = call("train", "--data", table, "--steps", 3, "--ways", 2, "-o", base)
    assert "columns p0, p1, p2, p3, p4, p5, p6, p7, ... (64 in all)" in told.stdout
    learner = kshot.load(base)
    assert isinstance(learner, kshot.Learner)
    assert learner.card["columns"] == names
    assert learner.encoder.config()["mean"][1] == pytest.approx(
        x[[d < 10 for d in y]][:400, 1].mean(), abs=0.5
    )
    shuffled = [*reversed(names), "label"]
    turned = write(tmp_path / "turned.csv", shuffled, [[*x[k][::-1], f"d{y[k]}"] for k in range(40)])
    straight = write(tmp_path / "straight.csv", [*names, "label"], [[*x[k], f"d{y[k]}"] for k in range(40)])
    told_of = []
    for file in (turned, straight):
        call("adapt", base, file, "-o", tmp_path / "t.kshot")
        call("predict", tmp_path / "t.kshot", turned, "--csv", tmp_path / "a.csv")
        told_of.append([row["p(d3)"] for row in answers(tmp_path / "a.csv")])
    assert told_of[0] == told_of[1]
    judged = figures(
        call("evaluate", base, "--data", table, "--ways", 2, "--tasks", 3, "--baselines", "--json")
    )
    assert {"kshot", "nearest_mean", "logistic_regression"} <= set(judged)


@pytest.mark.parametrize("name", ["transfer", "neural_process"])
def test_further_learners_train_on_pictures(name: str, tmp_path: Path) -> None:
    out = tmp_path / "base.kshot"
    words = (
        "train",
        "--data",
        "digits",
        "--learner",
        name,
        "--steps",
        1,
        "--ways",
        2,
        "--size",
        16,
        "-o",
        out,
    )
    assert figures(call(*words, "--json"))["kshot_regime"] == "inductive"
    loaded = kshot.load(out)
    assert isinstance(loaded, kshot.Learner)
    assert loaded.kind == name
    assert loaded.config().get("classes", 6) == 6


@pytest.mark.parametrize("name", ["transfer", "neural_process"])
def test_further_learners_lower_their_loss_on_rows(name: str, tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    table = write(
        tmp_path / "d.csv", [*(f"p{k}" for k in range(64)), "label"], [[*x[k], y[k]] for k in range(500)]
    )
    out = tmp_path / "base.kshot"
    told = call("train", "--data", table, "--learner", name, "--steps", 60, "--ways", 2, "-o", out)
    assert ("ordinary training of a" in told.stdout) == (name == "transfer")
    log = [json.loads(line) for line in (tmp_path / "base.run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]


def test_every_learner_is_explained_in_the_help() -> None:
    text = " ".join(call("train", "--help").output.replace("│", " ").split())
    for name in ("transfer", "neural_process", "protonet"):
        assert f"{name}: " in text


def test_a_downloaded_network_is_the_same_base_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weights = TorchVision("squeezenet1_1", 64).network.state_dict()
    (tmp_path / "encoders").mkdir()
    save_file(
        {k: v.contiguous() for k, v in weights.items()}, tmp_path / "encoders" / "squeezenet1_1.safetensors"
    )
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    for label in ("dark", "light"):
        (tmp_path / "taught" / label).mkdir(parents=True)
        shade = np.full((40, 40, 3), 30 if label == "dark" else 220, np.uint8)
        Image.fromarray(shade).save(tmp_path / "taught" / label / "1.png")
    task = tmp_path / "t.kshot"
    call("adapt", "squeezenet1_1", tmp_path / "taught", "-o", task, "--small")
    call(
        "predict", task, tmp_path / "taught" / "dark", "--base", "squeezenet1_1", "--csv", tmp_path / "a.csv"
    )
    assert answers(tmp_path / "a.csv")[0]["label"] == "dark"
