"""A run beside a run: the same prompts, teachers and student, and another way to decide which teacher answers.

What both need is computed once: the answers and the scores are shared, and the calibration sample is the same one. So
a variant asks for exactly the answers that its own decisions lack.
"""

from typing import Literal, NamedTuple

from persyn.config.policies import READ_BY, Policy
from persyn.config.run import RunConfig
from persyn.config.yaml_file import parse_run


class Changes(NamedTuple):
    """The values in which a variant differs; None keeps the run's own."""

    policy: Policy | None = None
    alpha: float | None = None
    reroute: Literal["on", "off"] | None = None

    def words(self) -> list[str]:
        """The parts of the variant's name that tell what differs."""
        told: list[str] = [] if self.policy is None else [self.policy]
        told += [] if self.alpha is None else [f"alpha-{self.alpha:g}"]
        return told + ([] if self.reroute is None else [f"reroute-{self.reroute}"])


def variant(base: RunConfig, changes: Changes, prompts: int) -> RunConfig:
    """The configuration of the variant, named after the run. Raises ConfigError where the changes do not fit it.

    A policy that was never asked to reroute does not, whatever the run's own does. `oracle` calibrates on all `prompts`
    of the set, because it needs every answer. The run's router serves unless alpha, by which it learned, differs.
    """
    raw = base.model_dump(mode="json", exclude_unset=True)
    policy = changes.policy or base.policy
    options = raw.get("policy_options", {})
    raw |= {
        "name": ".".join([base.name, *changes.words()]),
        "policy": policy,
        "policy_options": {key: value for key, value in options.items() if policy in READ_BY[key]},
    }
    if changes.alpha is not None:
        raw["alpha"] = changes.alpha
    if changes.reroute is not None:
        raw["reroute"] = changes.reroute
    elif policy != base.policy:
        raw["reroute"] = "off"
    if policy == "oracle":
        raw["calibration"] = raw.get("calibration", {}) | {"size": max(base.calibration.size, prompts)}
    router = raw.get("router", {})
    router.pop("of", None)
    if policy in ("persyn", "budgeted") and base.needs_router and raw.get("alpha", base.alpha) == base.alpha:
        router["of"] = base.router.of or base.name
    return parse_run(raw | {"router": router}, source=f"the variant {raw['name']}")
