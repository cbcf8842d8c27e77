"""The options of the routing policies."""

from typing import Literal

from pydantic import Field, model_validator

from persyn.config.strict import Name, Share, Strict

Policy = Literal["persyn", "strong", "family_strong", "mix", "car", "random", "oracle", "budgeted"]


class Budget(Strict):
    """One teacher's limits under the policy `budgeted`; the tightest of several counts."""

    share: Share | None = Field(default=None, description="of the routed prompts")
    tokens: int | None = Field(default=None, ge=0, description="completion tokens")
    cost: float | None = Field(default=None, ge=0.0, description="in the currency of the prices")
    price: float | None = Field(default=None, gt=0.0, description="per million completion tokens")
    prompt_price: float = Field(default=0.0, ge=0.0, description="per million prompt tokens")

    @model_validator(mode="after")
    def _limits_something(self) -> "Budget":
        if self.share is None and self.tokens is None and self.cost is None:
            raise ValueError("give a share, tokens or a cost")
        if (self.cost is None) != (self.price is None):
            raise ValueError("cost and price (per million completion tokens) go together; give both or neither")
        return self

    @property
    def only_share(self) -> bool:
        return self.tokens is None and self.cost is None


class PolicyOptions(Strict):
    """Options that only some policies read; each names its policy."""

    strong: Name | None = Field(default=None, description="mix: the strong teacher; by measured quality if absent")
    weak: Name | None = Field(default=None, description="mix: the weak teacher; by measured quality if absent")
    strong_share: Share = Field(default=0.2, description="mix: the strong teacher's share")
    beta: float = Field(default=3.0, ge=0.0, description="car: the weight of the student's loss")
    explore: Share = Field(
        default=0.0, description="persyn: the share of the routed prompts that gets a teacher at random"
    )
    budget: dict[Name, Budget] = Field(default={}, description="budgeted: limits by teacher; none given, none set")


READ_BY: dict[str, tuple[Policy, ...]] = {
    "strong": ("mix",),
    "weak": ("mix",),
    "strong_share": ("mix",),
    "beta": ("car",),
    "explore": ("persyn",),
    "budget": ("budgeted",),
}


def check_budget(names: list[str], budget: dict[str, Budget]) -> None:
    """Raises ValueError where no teacher (of `names`) has a budget, or where the shares of all are less than 1."""
    if not budget:
        raise ValueError("policy_options.budget: the policy budgeted needs a limit for at least one teacher")
    shares = [budget[name].share for name in names if name in budget]
    total = sum(1.0 if share is None else share for share in shares)
    if len(shares) == len(names) and total < 1.0 - 1e-9:
        raise ValueError(
            f"policy_options.budget: the shares of all teachers add up to {total:g}, less than 1, so some prompts"
            " would have no teacher. Raise one, or leave one teacher without a budget"
        )
