"""The demos of control, tiny: they end, compare on the same questions, and write their pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kshot.cli import app
from kshot.control import MPC, Fault, Practice
from kshot.control.film import HELP, film, follow, gif, strip
from kshot.control.robots import Life, Robots, robot_env
from kshot.demo.bandit import run_bandit
from kshot.demo.maze import run_maze
from kshot.demo.robot import run_robot
from kshot.errors import MissingExtraError

FAMILY = Robots(steps=4)
PNG = b"\x89PNG\r\n\x1a\n"


def test_the_maze_is_told_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kshot.demo.maze.STARTS", 1)
    told = io.StringIO()
    found = run_maze(Console(file=told, width=100), out=tmp_path, steps=2, maps=8, progress=False)
    assert (tmp_path / "maze.png").read_bytes().startswith(PNG)
    assert found["questions"] == 4
    assert found["a_star_extra_percent"] == found["dijkstra_extra_percent"] == 0
    assert 0 < found["a_star"] < found["dijkstra"]
    assert found["kshot"] > 0
    assert "Fewer cells" in told.getvalue()


def test_the_bandit_is_told_and_drawn(tmp_path: Path) -> None:
    told = io.StringIO()
    found = run_bandit(
        Console(file=told, width=100), out=tmp_path, steps=2, pulls=20, tasks=300, progress=False
    )
    assert (tmp_path / "bandit.png").read_bytes().startswith(PNG)
    assert found["random"] < found["thompson"] < found["gittins"] < found["oracle"]
    assert found["kshot"] > found["random"]
    assert "its index is the largest" in told.getvalue()


def test_the_robot_is_told_and_drawn_also_where_no_film_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MissingExtraError(f"the film could not be drawn; {HELP}")

    monkeypatch.setattr("kshot.demo.robot.film", fails)
    told = io.StringIO()
    small = MPC(plans=8, horizon=3)
    practice = Practice(
        simulated=0, shaken=1, rounds=1, lives=1, length=12, first=1, last=2, rows=24, mpc=small,
        settings={"rate": 1e-5},
    )  # fmt: skip
    found = run_robot(
        Console(file=told, width=100), out=tmp_path, robots=2, steps=160, mpc=small, practice=practice
    )
    for name in ("robot.png", "robot_why.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
    assert found["error_adapted"] < found["error_before"]
    assert {"kshot_reward_after", "plain_reward_after", "oracle_reward_after"} <= set(found)
    assert found["kshot_error_after"] < found["plain_error_after"]
    assert "unannounced" in told.getvalue()
    assert "told: 2 steps" in told.getvalue()
    assert found["film"] is None
    assert "apt-get install libegl1" in told.getvalue()


def test_the_film_is_drawn(tmp_path: Path) -> None:
    """Where nothing can be drawn, the demo goes on without it, and says what to install."""
    try:
        frames = film(FAMILY, Life(0), np.zeros((4, 6)), every=2, size=(64, 48))
    except MissingExtraError as cause:
        pytest.skip(f"no film on this machine: {cause}")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    assert frames[0].std() > 5
    assert gif(frames).startswith(b"GIF89a")
    assert strip({"adaptive": frames}, ["step 0", "step 2"]).startswith(PNG)


def test_a_loaded_robot_that_ran_far_is_in_the_film_and_has_a_floor() -> None:
    """gymnasium's floor is drawn for 40 m, and its camera loses a robot whose weight has changed; here it is 200 m away."""
    shown = []
    try:
        for place, payload in ((0.0, 1.0), (200.0, 4.0)):
            env = robot_env(
                FAMILY, Life(0), render_mode="rgb_array", width=64, height=48, camera_name="track"
            )
            env.reset()
            env.change(Fault(payload=payload))
            follow(env.inner.model)
            env.inner.data.qpos[0] = place
            env.inner.set_state(env.inner.data.qpos, env.inner.data.qvel)
            shown.append(np.asarray(env.render(), dtype=float))
            env.close()
    except Exception as cause:  # what fails in a graphics driver has no type of its own
        pytest.skip(f"no film on this machine: {cause}")
    assert shown[1][-12:].std() > 0.7 * shown[0][-12:].std() > 10, "a floor of black and white squares"
    # the robot is the only thing that is more red than blue
    reddish = [int((frame[..., 0] > frame[..., 2] + 25).sum()) for frame in shown]
    assert reddish[1] > 0.7 * reddish[0] > 10


@pytest.mark.parametrize("about", ["maize", "rowboat"])
def test_an_unknown_demo_is_an_error_that_lists_them(about: str) -> None:
    result = CliRunner().invoke(app, ["demo", about])
    assert result.exit_code != 0
    assert f"{about!r}; there are pictures, service, detect, entities, maze, bandit, robot" in " ".join(
        result.output.split()
    )
