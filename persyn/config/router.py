"""The options that turn calibration rewards into preferences and train the router on them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from persyn.config.strict import Name, Strict

# The paper's router: every pair counts alike and nothing is shrunk or selected. arXiv 2510.10925, section 4.
PAPER: dict[str, Any] = {
    "backbone": "Qwen/Qwen2.5-1.5B",
    "pooling": "last",
    "freeze_backbone": False,
    "head": "plain",
    "learning_rate": 1e-5,
    "dtype": "bfloat16",
    "gradient_checkpointing": True,
}


class Preferences(Strict):
    ties: Literal["skip", "half"] = Field(default="skip", description="leave ties out, or let each teacher win half")
    margin: float = Field(default=0.0, ge=0.0, description="rewards that differ by no more than this are a tie")
    weight: Literal["margin", "none"] = Field(default="margin", description="a pair counts by its rewards' difference")


class Router(Strict):
    of: Name | None = Field(
        default=None, description="a run whose router routes this one's prompts; nothing is calibrated or trained"
    )
    preset: Literal["default", "paper"] = Field(default="default", description="the values of keys that are not given")
    backbone: str = Field(default="bundled:all-minilm-l6-v2", min_length=1, description="as a teacher's model")
    revision: str | None = Field(default=None, description="a commit of the model's repository; none: the newest")
    pooling: Literal["mean", "last", "layers", "middle"] = Field(
        default="layers", description="a prompt's vector: over its tokens, of one layer or several"
    )
    freeze_backbone: bool = Field(default=True, description="train the head alone, in seconds")
    surface: bool = Field(default=True, description="a frozen backbone's head also sees how a prompt is written")
    max_length: int = Field(default=512, ge=8, description="tokens of the prompt that the router sees")
    head: Literal["cross_validated", "plain"] = Field(
        default="cross_validated", description="for a frozen backbone: shrunk as held-out reward says, or not at all"
    )
    folds: int = Field(default=5, ge=2, le=20, description="parts of that cross-validation")
    held_out: float = Field(
        default=0.1, gt=0.0, lt=1.0, description="share of the training prompts that stops training in time"
    )
    epochs: int = Field(default=30, ge=1, description="passes over the training prompts, at most")
    patience: int = Field(default=5, ge=1, description="epochs without a better held-out loss before it stops")
    batch_size: int = Field(default=16, ge=1, description="prompts in a batch")
    accumulation: int = Field(default=1, ge=1, description="batches that make one step")
    learning_rate: float = Field(default=1e-3, gt=0.0, description="of the optimiser")
    weight_decay: float = Field(default=0.01, ge=0.0, description="of the optimiser")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="float32, and bfloat16 on a GPU that trains the backbone"
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory, a third more time")
    checkpoint_steps: int = Field(default=200, ge=1, description="steps between two states that training resumes from")

    @property
    def sees_surface(self) -> bool:
        return self.surface and self.freeze_backbone

    @property
    def backbone_dtype(self) -> Literal["float32", "bfloat16"]:
        """The type in which weights are loaded; a backbone that is trained keeps float32 and computes in `dtype`."""
        return "bfloat16" if self.freeze_backbone and self.dtype == "bfloat16" else "float32"

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return {**PAPER, **given} if isinstance(given, dict) and given.get("preset") == "paper" else given
