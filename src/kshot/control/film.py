"""Films of robots, drawn without a screen: a strip of frames, and a GIF. Needs an offscreen OpenGL."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from kshot.control.robots import Life, Robots, robot_env
from kshot.errors import DataError, MissingExtraError, need

HELP = (
    "films need OpenGL without a screen: on Debian and Ubuntu `apt-get install libegl1` (or libosmesa6, and set "
    "MUJOCO_GL=osmesa), with a graphics card MUJOCO_GL=egl"
)
"""How to make rendering work."""

WIDER = 10
"""How many times as long and wide as gymnasium's the floor is drawn."""


def film(
    family: Robots, life: Life, actions: np.ndarray, *, every: int = 2, size: tuple[int, int] = (320, 200)
) -> list[np.ndarray]:
    """Live a life again by its actions and draw it: frames [height, width, 3], 8 bit.

    Args:
        actions: [steps, joints], as they were taken. every: steps from one frame to the next. size: width, height.

    Raises:
        MissingExtraError: nothing can be drawn on this machine; the message says what to install.
    """
    # chosen at the first import; on a machine without a screen only this one works
    os.environ.setdefault("MUJOCO_GL", "egl")
    frames: list[np.ndarray] = []
    try:
        env = robot_env(
            family, life, render_mode="rgb_array", width=size[0], height=size[1], camera_name="track"
        )
        follow(env.inner.model)
        env.reset()
        for step, action in enumerate(actions):
            env.step(action)
            if step % every == 0:
                frames.append(np.asarray(env.render(), dtype=np.uint8))
        env.close()
    except DataError:
        raise
    except Exception as cause:  # what fails in a graphics driver has no type of its own
        raise MissingExtraError(
            f"the film could not be drawn ({type(cause).__name__}: {cause}); {HELP}"
        ) from cause
    return frames


def follow(model: Any) -> None:
    """Make a model ready for films of fast robots that change: a floor of ten times the length and width, since gymnasium's is
    drawn for 40 m only, and cameras that follow the torso. Theirs follow the centre of mass, which the model works out with the
    masses that it was built with, so a robot that is loaded leaves the picture.
    """
    plane = model.geom_type == 0
    model.geom_size[plane, :2] *= WIDER
    model.mat_texrepeat[model.geom_matid[plane]] *= WIDER
    model.cam_mode[model.cam_mode == 2] = 1  # mjCAMLIGHT_TRACKCOM, mjCAMLIGHT_TRACK


def gif(frames: Sequence[np.ndarray], *, milliseconds: int = 100) -> bytes:
    """An animated GIF of frames.

    Raises:
        MissingExtraError: pillow is not installed. DataError: no frames.
    """
    if not len(frames):
        raise DataError(f"{len(frames)} frames were given; a film has at least one")
    image = need("PIL.Image", "vision")
    pictures = [image.fromarray(frame).quantize(64) for frame in frames]
    out = BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return out.getvalue()


def strip(rows: Mapping[str, Sequence[np.ndarray]], titles: Sequence[str]) -> bytes:
    """A PNG of some frames side by side, a row for each name.

    Args:
        rows: as many frames for each name as there are `titles`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from kshot.control.reasons import png

    count = len(titles)
    figure = need("matplotlib.figure", "plots").Figure(
        figsize=(2.4 * count, 1.6 * len(rows)), layout="constrained"
    )
    grid: Any = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, frames) in enumerate(rows.items()):
        for place, title in enumerate(titles):
            axes = grid[line, place]
            axes.imshow(frames[place])
            axes.set_xticks([])
            axes.set_yticks([])
            if line == 0:
                axes.set_title(title, fontsize=9)
        grid[line, 0].set_ylabel(name)
    return png(figure)
