"""Why did it do that: pictures of what a planner followed and of what a bandit policy knew."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kshot.control.arm_policy import ArmPolicy
from kshot.control.bandits import Bandits, Counts
from kshot.control.gittins import gittins
from kshot.control.maps import as_grid
from kshot.control.planner import PathPlanner
from kshot.control.search import Route, search
from kshot.control.terrain_costs import TerrainPlanner
from kshot.errors import DataError, need

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WALL, _OURS, _THEIRS = "#333333", "#d1495b", "#00798c"


def planner_picture(planner: PathPlanner, grid: Any, start: Any, goal: Any, *, weight: float = 1.0) -> bytes:
    """A PNG of the field that the planner followed and the cells it expanded, beside those of weighted A*.

    Args:
        grid, start, goal: as for `planner.plan`. weight: of the weighted A* beside it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plots").Figure(figsize=(12, 4.3), layout="constrained")
    given = as_grid(grid)
    field, ours = planner.field(given, goal), planner.plan(given, start, goal)
    theirs = search(given, start, goal, weight=weight)
    left, middle, right = figure.subplots(1, 3)
    shown = np.where(given.free, field, np.nan)
    image = left.imshow(shown, cmap="viridis_r")
    left.set_facecolor(_WALL)
    left.set_title("the cost to go that it followed")
    figure.colorbar(image, ax=left, shrink=0.8, label="moves to the goal, estimated")
    _cells(middle, given.free, ours, _OURS, f"it expanded {ours.expansions} cells, cost {ours.cost:g}")
    name = "A*" if weight == 1 else f"weighted A* ({weight:g})"
    _cells(right, given.free, theirs, _THEIRS, f"{name} expanded {theirs.expansions}, cost {theirs.cost:g}")
    for axes in (left, middle, right):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.plot(start[1], start[0], "o", color="white", markeredgecolor="black", markersize=8)
        axes.plot(goal[1], goal[0], "*", color="gold", markeredgecolor="black", markersize=13)
    return _png(figure)


def terrain_picture(planner: TerrainPlanner, terrain: Any, start: Any, goal: Any) -> bytes:
    """A PNG of a map of terrain and the way that was planned, the costs that it was planned by, and how sure they are.

    Args:
        terrain, start, goal: as for `planner.plan`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plots").Figure(figsize=(12, 4.3), layout="constrained")
    grid, route = planner.grid(terrain), planner.plan(terrain, start, goal)
    left, middle, right = figure.subplots(1, 3)
    kinds = np.where(grid.free, np.asarray(terrain, dtype=float), np.nan)
    left.imshow(kinds, cmap="Set2", vmin=0.5, vmax=8.5, interpolation="nearest")
    image = middle.imshow(np.where(grid.free, grid.cost, np.nan), cmap="viridis_r")
    figure.colorbar(image, ax=middle, shrink=0.8, label="of entering a cell, in units of the cheapest")
    left.set_title("the kinds of ground" if route.path else "the kinds of ground; there is no way")
    middle.set_title(f"the costs that were learned; the way costs {route.cost:.1f}")
    for axes in (left, middle):
        axes.set_facecolor(_WALL)
        axes.set_xticks([])
        axes.set_yticks([])
        if route.path:
            rows, columns = np.array(route.path).T
            axes.plot(columns, rows, color=_OURS, linewidth=2)
        axes.plot(start[1], start[0], "o", color="white", markeredgecolor="black", markersize=8)
        axes.plot(goal[1], goal[0], "*", color="gold", markeredgecolor="black", markersize=13)
    costs, unsure = planner.costs, np.exp(planner.deviations)
    places = np.arange(1, len(costs) + 1)
    colours = [left.images[0].cmap(left.images[0].norm(place)) for place in places]
    right.bar(places, costs, color=colours, yerr=[costs - costs / unsure, costs * unsure - costs], capsize=4)
    right.set_xticks(places)
    right.set_title("a cost, and how unsure it is (68 %)")
    right.set_xlabel("kind of ground")
    return _png(figure)


def _cells(axes: Axes, free: np.ndarray, route: Route, colour: str, title: str) -> None:
    axes.imshow(np.where(free, np.nan, 0.0), cmap="gray", vmin=-0.25, vmax=1)
    if route.expanded:
        rows, columns = np.array(route.expanded).T
        axes.scatter(columns, rows, s=14, marker="s", color=colour, alpha=0.35, linewidths=0)
    if route.path is not None:
        rows, columns = np.array(route.path).T
        axes.plot(columns, rows, color=colour, linewidth=2.5)
    axes.set_title(title)


def arms_picture(policy: ArmPolicy, known: Counts) -> bytes:
    """A PNG of why a policy pulls the arm it pulls: its counts, posterior means, and its index beside Gittins'.

    Both indices are shifted and scaled to the same mean and deviation over the arms, since a scale means nothing.

    Args:
        known: counts of one bandit, [1, arms], with at least one pull left.

    Raises:
        DataError: counts of another number of bandits, or no pull is left.
        MissingExtraError: matplotlib is not installed.
    """
    if len(known.count) != 1 or known.left < 1:
        raise DataError(
            f"counts are of {len(known.count)} bandits with {known.left} pulls left; give one and 1 or more"
        )
    figure = need("matplotlib.figure", "plots").Figure(figsize=(10, 3.6), layout="constrained")
    mean, variance = policy.bandits.posterior(known.count, known.total)
    arms = np.arange(known.count.shape[1])
    left, right = figure.subplots(1, 2)
    left.bar(arms, mean[0].numpy(), yerr=variance[0].sqrt().numpy(), color=_THEIRS, alpha=0.6, capsize=4)
    for arm in arms:
        paid, pulls = known.total[0, arm], known.count[0, arm]
        left.annotate(f"{paid:g} of {pulls:g}", (arm, 0.02), ha="center", color="black")
    left.set_title("what it has seen: posterior mean and deviation")
    indices = both_indices(policy, known)
    for offset, (name, colour) in enumerate((("learned", _OURS), ("Gittins", _THEIRS))):
        right.bar(arms + 0.4 * offset - 0.2, indices[name], width=0.38, color=colour, label=name)
    right.set_title(f"index of each arm, {known.left} pulls left")
    right.margins(y=0.25)  # room for the legend above the bars
    right.legend(loc="upper center", ncols=2)
    for axes in (left, right):
        axes.set_xticks(arms, [f"arm {arm}" for arm in arms])
    return _png(figure)


def both_indices(policy: ArmPolicy, known: Counts) -> dict[str, np.ndarray]:
    """The learned index and Gittins' of the arms of one bandit, Gittins' moved to the learned one's scale, [arms]."""
    bandits: Bandits = policy.bandits
    own = policy.index(bandits, known, None)[0].double()
    rule = gittins(bandits)(bandits, known, torch.Generator())[0].double()
    scale = own.std() / rule.std().clamp(min=1e-9)
    return {"learned": own.numpy(), "Gittins": (own.mean() + scale * (rule - rule.mean())).numpy()}


def _png(figure: Any) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
