"""The command line on small real data: scikit-learn's digits as PNG files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import kshot
from commands import call, figures
from kshot import cli
from kshot.cli import app
from kshot.demo.handwriting import digits
from kshot.explanation import png
from kshot.learners import ProtoNet, save_learner

COMMANDS = (
    "demo", "check", "train", "evaluate", "calibrate", "adapt", "add", "remove", "restore", "forget", "retune", "choose", "predict", "explain", "suggest", "show", "diff", "rebase", "encoders", "get",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """taught/<digit>/*.png, asked/*.png, photos with eleven classes, and a base of raw pixels."""
    top = tmp_path_factory.mktemp("cli")
    pool = digits()
    for digit, members in enumerate(pool.members[:4]):
        for number, place in enumerate(members[:6].tolist()):
            folder = top / "taught" / str(digit) if number < 4 else top / "asked"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{digit}-{number}.png").write_bytes(png(pool.inputs[place]))
    save_learner(
        ProtoNet(kshot.encoders.pixels(8)), top / "base.kshot", {"made": "by a test", "numbers": {"a": 1}}
    )
    return top


@pytest.fixture
def task(root: Path, tmp_path: Path) -> Path:
    """A task taught four digits."""
    path = tmp_path / "task.kshot"
    call("adapt", root / "base.kshot", root / "taught", "-o", path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = call(command, "--help").output
    assert f"Example:  kshot {command}" in text
    assert "--json" in text
    first = re.sub(r"\s+", " ", text)
    assert not re.search(r"\b(tensor|vmap|logits?|meta-batch)\b", first), "help is for newcomers"


def test_no_command_shows_the_commands() -> None:
    text = CliRunner().invoke(app, []).output
    assert all(command in text for command in COMMANDS)


def test_adapt_says_what_it_learned_and_the_file_is_a_task(root: Path, tmp_path: Path) -> None:
    result = call("adapt", root / "base.kshot", root / "taught", "-o", tmp_path / "t.kshot", "--json")
    found = figures(result)
    assert (found["kshot"], found["classes"]) == (16, 4)
    assert "4 classes from 16 examples" in result.stdout
    loaded = kshot.load(tmp_path / "t.kshot")
    assert isinstance(loaded, kshot.Adapted)
    assert "0/0-0.png" in loaded.ids


def test_predict_writes_what_the_library_says(root: Path, task: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    found = figures(call("predict", task, root / "asked", "--csv", out, "--json"))
    files = sorted((root / "asked").glob("*.png"))
    loaded = kshot.load(task)
    assert isinstance(loaded, kshot.Adapted)
    wanted = loaded.predict(files)
    with out.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert found["kshot"] == len(rows) == 8
    assert [Path(row["file"]) for row in rows] == files
    assert [row["label"] for row in rows] == wanted.labels
    assert [float(row["p(2)"]) for row in rows] == wanted.probabilities[:, 2].tolist()
    assert sum(row["label"] == Path(row["file"]).name[0] for row in rows) >= 7


def test_many_files_are_answered_in_chunks_as_at_once(root: Path, task: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    source = sorted((root / "asked").glob("*.png"))
    for number in range(150):
        (many / f"{number:03}.png").write_bytes(source[number % len(source)].read_bytes())
    result = call("predict", task, many, "--csv", tmp_path / "a.csv", "--json")
    assert figures(result)["kshot"] == 150
    rows = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) == 150
    assert "and 110 more" in result.stdout
    assert {row.split(",", 1)[1] for row in rows[::8]} == {rows[0].split(",", 1)[1]}


def test_an_unreadable_file_stops_or_is_named_and_counted(root: Path, task: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    good = sorted((root / "asked").glob("*.png"))[0].read_bytes()
    (folder / "a.png").write_bytes(good)
    (folder / "b.png").write_bytes(good[:40])
    out = tmp_path / "a.csv"
    stopped = call("predict", task, folder, "--csv", out, code=2)
    assert "b.png" in stopped.stderr
    assert "--skip-unreadable" in stopped.stderr
    assert [p.name for p in tmp_path.iterdir() if "a.csv" in p.name] == []
    passed = call("predict", task, folder, "--csv", out, "--skip-unreadable", "--json")
    assert (figures(passed)["kshot"], figures(passed)["skipped"]) == (1, 1)
    assert "b.png" in passed.stderr


def test_add_and_remove_agree_with_adapting_afresh(root: Path, task: Path, tmp_path: Path) -> None:
    call("remove", task, "3/3-0.png", "3/3-1.png", "3/3-2.png", "3/3-3.png")
    assert "3 " not in " ".join(figures(call("show", task, "--json"))["classes"])
    again = tmp_path / "again"
    (again / "3").mkdir(parents=True)
    for file in (root / "taught" / "3").iterdir():
        (again / "3" / file.name).write_bytes(file.read_bytes())
    added = call("add", task, again, "--json")
    assert "New classes: 3" in added.stdout
    assert figures(added)["kshot"] == 16
    fresh = kshot.load(root / "base.kshot")
    assert isinstance(fresh, kshot.Learner)
    one, other = kshot.load(task), tmp_path / "fresh.kshot"
    call("adapt", root / "base.kshot", root / "taught", "-o", other)
    two = kshot.load(other)
    assert isinstance(one, kshot.Adapted)
    assert isinstance(two, kshot.Adapted)
    files = sorted((root / "asked").glob("*.png"))
    assert one.predict(files).probabilities.tobytes() == two.predict(files).probabilities.tobytes()


def test_adding_the_same_files_twice_gives_them_other_names(root: Path, task: Path) -> None:
    call("add", task, root / "taught")
    names = figures(call("show", task, "--json"))["names"]
    assert len(set(names)) == 32
    assert "0/0-0.png (2)" in names


def test_forgetting_what_is_not_there_is_an_error(task: Path) -> None:
    before = task.read_bytes()
    assert "'nobody'" in call("remove", task, "nobody", code=2).stderr
    assert task.read_bytes() == before


def test_explain_names_the_examples_and_writes_a_page(root: Path, task: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    picture = root / "asked" / "2-4.png"
    found = figures(call("explain", task, picture, "--html", page, "--json"))
    loaded = kshot.load(task)
    assert isinstance(loaded, kshot.Adapted)
    wanted = loaded.explain([picture])
    assert found["kshot"] == wanted.probability
    assert found["strongest"] == wanted.evidence[0].id
    text = page.read_text(encoding="utf-8")
    # the picture, its map, the sixteen examples
    assert text.count("data:image/png;base64,") == 18
    assert "http" not in text
    for heading in ("hangs on", "decided it", "How good is this task?", "look at again", "adapting changed"):
        assert heading in text


def test_explain_without_an_input_is_about_the_task(task: Path, tmp_path: Path) -> None:
    page = tmp_path / "task.html"
    found = figures(call("explain", task, "--html", page, "--json"))
    loaded = kshot.load(task)
    assert isinstance(loaded, kshot.Adapted)
    own = loaded.self_estimate()
    assert (found["kshot"], found["accuracy"], found["low"]) == (16, own.accuracy, own.low)
    assert [s["id"] for s in found["suspects"]] == [s.id for s in loaded.suspect_labels()]
    assert "What adapting changed" in page.read_text(encoding="utf-8")
    assert "no table was named" in call("explain", task, "--row", "1", code=2).stderr


def test_show_says_what_a_file_is(root: Path, task: Path) -> None:
    found = figures(call("show", task, "--json"))
    assert (found["kshot"], found["examples"], found["base_inside"]) == ("task", 16, True)
    base = figures(call("show", root / "base.kshot", "--json"))
    assert (base["kshot"], base["learner"], base["encoder"]) == ("learner", "protonet", "pixels")
    assert base["card_numbers_a"] == 1
    assert base["fingerprint"] == found["base_fingerprint"]


def test_a_task_without_its_base_needs_it_named(root: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely" / "t.kshot"
    call("adapt", root / "base.kshot", root / "taught", "-o", lonely, "--small")
    assert "base=" in call("predict", lonely, root / "asked", code=2).stderr
    call("predict", lonely, root / "asked", "--base", root / "base.kshot")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("adapt", "nowhere", "taught"), "'nowhere' is neither a file nor a base"),
        (("adapt", "base.kshot", "missing"), "missing does not exist"),
        (("adapt", "base.kshot", "asked"), "no subfolder"),
        (("predict", "base.kshot", "asked"), "has learned no task yet"),
        (("explain", "base.kshot", "asked"), "has learned no task yet"),
        (("evaluate", "base.kshot", "--data", "digits", "--out", "x.pdf"), "a report is .json, .md, .html"),
        (
            ("evaluate", "base.kshot", "--data", "digits", "--ways", "11", "--tasks", "1"),
            "10 classes; 11-way",
        ),
        (("evaluate", "base.kshot", "--data", "digits", "--device", "abacus"), "device 'abacus'"),
        (("evaluate", "base.kshot", "--data", "omniglot:asked"), "holds no Omniglot"),
        (("train", "--data", "taught", "--effort", "heroic"), "taught has 4 classes"),
        (("train", "--data", "digits", "--effort", "heroic"), "effort is 'heroic'"),
        (("train", "--data", "digits", "--learner", "magic"), "learner is 'magic'"),
        (("train", "--data", "digits", "--encoder", "eyes"), "eyes"),
        (("demo", "--effort", "heroic"), "effort is 'heroic'"),
        (("get", "conv4"), "conv4 is built in"),
        (("show", "asked/0-4.png"), "is not a whole kshot file"),
    ],
)
def test_errors_are_one_sentence_on_stderr_with_code_2(
    root: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    result = call(*words, code=2)
    assert said in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_check_says_what_is_possible(root: Path) -> None:
    result = call("check", root / "taught", "--json")
    found = figures(result)
    assert (found["kshot"], found["examples"], found["classes"]) == (True, 16, 4)
    assert "impossible: " in result.stdout


def test_train_evaluate_and_resume(tmp_path: Path) -> None:
    out = tmp_path / "base.kshot"
    words = ("train", "--data", "digits", "--steps", 3, "--size", 16, "--ways", 2, "-o", out, "--json")
    trained = call(*words)
    assert "why" in trained.stdout
    found = figures(trained)
    assert 0 <= found["kshot_low"] <= found["kshot"] <= found["kshot_high"] <= 100 + 50
    assert found["kshot_regime"] == "inductive"
    first = out.read_bytes()
    call(*words)
    assert out.read_bytes() == first, "a finished run is found again, not trained anew"
    report = tmp_path / "r.json"
    judged = call(
        "evaluate", out, "--data", "digits", "--ways", 2, "--tasks", 5, "--baselines", "-o", report, "--json"
    )
    assert "8 classes that the base was trained on are left out" in judged.stdout
    assert {"kshot", "nearest_mean", "logistic_regression"} <= set(figures(judged))
    rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    assert [row["n_tasks"] for row in rows] == [5, 5, 5]
    assert set(rows[0]["per_class"]) <= set("0123456789")


def test_the_same_seed_trains_the_same_base(tmp_path: Path) -> None:
    def fingerprint(name: str, seed: int) -> str:
        out = tmp_path / f"{name}.kshot"
        call("train", "--data", "digits", "--steps", 2, "--size", 16, "--ways", 2, "--seed", seed, "-o", out)
        return str(figures(call("show", out, "--json"))["fingerprint"])

    assert fingerprint("a", 1) == fingerprint("b", 1) != fingerprint("c", 2)


def test_several_data_make_a_cross_domain_table(root: Path) -> None:
    result = call("evaluate", root / "base.kshot", "--data", "digits", "--data", root / "taught", "--ways", 3,
                  "--queries", 2, "--tasks", 4, "--json")  # fmt: skip
    found = figures(result)
    assert "kshot_digits" in found
    assert len([name for name in found if name.endswith("_regime")]) == 2
    assert result.stdout.count("inductive") >= 3


def test_tables_of_paths_teach_too(root: Path, tmp_path: Path) -> None:
    rows = [f"{p.as_posix()},{p.parent.name}" for p in sorted((root / "taught").rglob("*.png"))]
    table = tmp_path / "examples.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    found = figures(call("adapt", root / "base.kshot", table, "-o", tmp_path / "t.kshot", "--json"))
    assert (found["kshot"], found["classes"]) == (16, 4)


def test_encoders_are_listed_and_found() -> None:
    result = call("encoders", "resnet18", "--json")
    assert "resnet18" in result.stdout
    assert figures(result)["kshot"] == 1


def test_pictures_unlike_the_training_ones_are_warned_about(root: Path, tmp_path: Path) -> None:
    learner = ProtoNet(kshot.encoders.pixels(8))
    pool = digits()
    kshot.trust.calibrate(learner, kshot.data.Episodes(pool, kshot.tasks.NWayKShot(5, 1, 5)), tasks=5)
    save_learner(learner, tmp_path / "base.kshot")
    for label in ("a", "b"):
        (tmp_path / "white" / label).mkdir(parents=True)
        (tmp_path / "white" / label / "1.png").write_bytes(png(torch.full((8, 8), 255, dtype=torch.uint8)))
    result = call("adapt", tmp_path / "base.kshot", tmp_path / "white", "-o", tmp_path / "t.kshot")
    assert result.stderr.startswith("Warning: ")


def test_ctrl_c_exits_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """A real process, a real signal: on Windows there is no such signal to send."""
    if sys.platform == "win32":
        pytest.skip("sends a POSIX signal")
    import signal

    out = tmp_path / "b.kshot"
    words = [sys.executable, "-m", "kshot.cli", "train", "--data", "digits", "--steps", "100000", "--size", "16",
             "--ways", "2", "-o", str(out)]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("validation"):
            break
    log = tmp_path / "b.run"
    while not log.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 130, errors
    assert "same" in errors
    assert "Traceback" not in errors
    assert not out.exists()


def test_the_listed_commands_are_there_and_say_so_themselves() -> None:
    """Help is written without importing a command, so here each is held against its own text."""
    for name, (_, said) in cli.COMMANDS.items():
        own = " ".join(call(name, "--help").output.split()).lower()
        first = said.rstrip(".").split(",")[0].split(":")[0].lower().split()
        assert first[0] in own, name
        assert sum(word in own for word in first) >= 0.6 * len(first), f"{name}: {said}"
    assert "Did you mean 'adapt'" in call("adpt", code=2).output


@pytest.mark.parametrize(
    "words", [(), ("--help",), ("--version",), ("version",), ("nonsense",), ("--bogus",)]
)
def test_help_and_mistyped_names_do_not_wait_for_torch(words: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom kshot.cli import main\ntry:\n main()\nfinally:\n print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.stdout.strip().endswith("False"), done.stderr
    assert "Traceback" not in done.stderr
    assert (words[-1:] != ("--version",)) or done.stdout.startswith(kshot.__version__)
