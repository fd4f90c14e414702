"""Control: planners, policies and controllers that adapt to a new environment from a few examples of it."""

from kshot.bundles import register_encoder, register_learner
from kshot.control.arm_policy import ArmPolicy, arm_policy
from kshot.control.bandits import Bandits, Counts, Played, greedy, oracle, play, thompson, ucb, uniform
from kshot.control.cost_to_go import CostPrediction, CostToGo
from kshot.control.families import KINDS, Family, PlanningTasks, draw_family, planning_dataset
from kshot.control.gittins import gittins
from kshot.control.grids import Grid
from kshot.control.guidance import Guidance
from kshot.control.maps import MapEncoder
from kshot.control.places import GoalRooms, PointGoals, TabularMDPs, dark_room, small_grid
from kshot.control.planner import PathPlanner, Solved, Trial, choose_weight, path_planner
from kshot.control.search import Route, search
from kshot.control.worlds import Step, World, WorldTask, gymnasium_env

register_encoder(MapEncoder)
register_learner(ArmPolicy)
register_learner(Guidance)

__all__ = [
    "KINDS",
    "ArmPolicy",
    "Bandits",
    "CostPrediction",
    "CostToGo",
    "Counts",
    "Family",
    "GoalRooms",
    "Grid",
    "Guidance",
    "MapEncoder",
    "PathPlanner",
    "PlanningTasks",
    "Played",
    "PointGoals",
    "Route",
    "Solved",
    "Step",
    "TabularMDPs",
    "Trial",
    "World",
    "WorldTask",
    "arm_policy",
    "choose_weight",
    "dark_room",
    "draw_family",
    "gittins",
    "greedy",
    "gymnasium_env",
    "oracle",
    "path_planner",
    "planning_dataset",
    "play",
    "search",
    "small_grid",
    "thompson",
    "ucb",
    "uniform",
]
