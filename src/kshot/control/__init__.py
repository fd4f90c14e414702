"""Control: planners, policies and controllers that adapt to a new environment from a few examples of it."""

from kshot.bundles import register_encoder, register_learner
from kshot.control.agent import RobotAgent, steer
from kshot.control.anchored import Anchored
from kshot.control.arm_policy import ArmPolicy, arm_policy
from kshot.control.bandits import Bandits, Counts, Played, greedy, oracle, play, thompson, ucb, uniform
from kshot.control.bodies import Fault, Robot
from kshot.control.controlled import controlled
from kshot.control.controller import Belief, Controller
from kshot.control.cost_to_go import CostPrediction, CostToGo
from kshot.control.demonstrations import Demonstrations
from kshot.control.dynamics import Dynamics
from kshot.control.families import Family, PlanningTasks, draw_family, planning_dataset
from kshot.control.gittins import gittins
from kshot.control.gradient_policy import GradientPolicy, gradient_policy
from kshot.control.grids import Grid
from kshot.control.guidance import Guidance
from kshot.control.living import Handover, Lived, Shaking, live
from kshot.control.map_kinds import KINDS
from kshot.control.maps import MapEncoder
from kshot.control.motors import MotorDynamics
from kshot.control.mpc import MPC
from kshot.control.places import GoalRooms, PointGoals, dark_room, small_grid
from kshot.control.planner import PathPlanner, Solved, Trial, choose_weight, path_planner
from kshot.control.policy_agent import PolicyAgent, act
from kshot.control.practice import MODELS, Practice
from kshot.control.practised import Practised
from kshot.control.process_policy import ProcessPolicy, process_policy
from kshot.control.processes import TabularMDPs
from kshot.control.psrl import psrl
from kshot.control.quadruped import Quadruped
from kshot.control.reasons import Reasons, why
from kshot.control.recurrent import RecurrentPolicy, recurrent_policy
from kshot.control.robots import Life, Robots, RobotTask, robot_env
from kshot.control.search import Route, search
from kshot.control.seeking import Seeking, best_seeking
from kshot.control.terrain import TerrainEncoder
from kshot.control.terrain_costs import TerrainCosts, TerrainPlanner, terrain_planner
from kshot.control.terrain_tasks import Terrains
from kshot.control.transitions import Transitions
from kshot.control.walks import WalkPrediction, Walks, walk
from kshot.control.worlds import Step, World, WorldTask, gymnasium_env

register_encoder(MapEncoder)
register_encoder(TerrainEncoder)
register_learner(Anchored)
register_learner(ArmPolicy)
register_learner(Dynamics)
register_learner(MotorDynamics)
register_learner(GradientPolicy)
register_learner(Guidance)
register_learner(ProcessPolicy)
register_learner(RecurrentPolicy)
register_learner(TerrainCosts)

__all__ = [
    "KINDS",
    "MODELS",
    "MPC",
    "Anchored",
    "ArmPolicy",
    "Bandits",
    "Belief",
    "Controller",
    "CostPrediction",
    "CostToGo",
    "Counts",
    "Demonstrations",
    "Dynamics",
    "Family",
    "Fault",
    "GoalRooms",
    "GradientPolicy",
    "Grid",
    "Guidance",
    "Handover",
    "Life",
    "Lived",
    "MapEncoder",
    "MotorDynamics",
    "PathPlanner",
    "PlanningTasks",
    "Played",
    "PointGoals",
    "PolicyAgent",
    "Practice",
    "Practised",
    "ProcessPolicy",
    "Quadruped",
    "Reasons",
    "RecurrentPolicy",
    "Robot",
    "RobotAgent",
    "RobotTask",
    "Robots",
    "Route",
    "Seeking",
    "Shaking",
    "Solved",
    "Step",
    "TabularMDPs",
    "TerrainCosts",
    "TerrainEncoder",
    "TerrainPlanner",
    "Terrains",
    "Transitions",
    "Trial",
    "WalkPrediction",
    "Walks",
    "World",
    "WorldTask",
    "act",
    "arm_policy",
    "best_seeking",
    "choose_weight",
    "controlled",
    "dark_room",
    "draw_family",
    "gittins",
    "gradient_policy",
    "greedy",
    "gymnasium_env",
    "live",
    "oracle",
    "path_planner",
    "planning_dataset",
    "play",
    "process_policy",
    "psrl",
    "recurrent_policy",
    "robot_env",
    "search",
    "small_grid",
    "steer",
    "terrain_planner",
    "thompson",
    "ucb",
    "uniform",
    "walk",
    "why",
]
