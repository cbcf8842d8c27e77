"""A run's configuration, from its YAML, and this process's settings, from its environment.

Everything that changes results is in the YAML, is validated here and is stored with its hash.
Addresses and secrets are in the environment and are stored nowhere.
"""

from persyn.config.endpoints import VARIABLE, Endpoint, Price, address_problem
from persyn.config.export import Column, Export, Flaw, Format, Layout, Order, Reasoning
from persyn.config.policies import Budget, Policy, PolicyOptions
from persyn.config.rerouting import PriceUnit, Reroute
from persyn.config.router import Preferences, Router
from persyn.config.run import Calibration, RunConfig
from persyn.config.scorers import (
    Consensus,
    Ifd,
    Imported,
    Judge,
    Lark,
    LearnabilityScorer,
    LocalNaturalness,
    LogLik,
    MathVerify,
    QualityScorer,
    RankSurprisal,
    RewardModel,
    Scas,
    Scorers,
    parse_scorer,
    scorer_identity,
)
from persyn.config.settings import Settings
from persyn.config.strict import Name, differences, fingerprint
from persyn.config.teachers import Message, Sampling, Server, Student, Teacher
from persyn.config.training import StudentTraining
from persyn.config.yaml_file import load_run, parse_run

__all__ = [
    "VARIABLE", "Budget", "Calibration", "Column", "Consensus", "Endpoint", "Export", "Flaw", "Format", "Ifd",
    "Imported", "Judge", "Lark", "Layout", "LearnabilityScorer", "LocalNaturalness", "LogLik", "MathVerify", "Message",
    "Name", "Order", "Policy", "PolicyOptions", "Preferences", "Price", "PriceUnit", "QualityScorer", "RankSurprisal",
    "Reasoning", "Reroute", "RewardModel", "Router", "RunConfig", "Sampling", "Scas", "Scorers", "Server", "Settings",
    "Student", "StudentTraining", "Teacher", "address_problem", "differences", "fingerprint", "load_run", "parse_run",
    "parse_scorer",
    "scorer_identity",
]  # fmt: skip
