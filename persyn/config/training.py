"""The options with which the student is trained on a run's set, long after the run or never."""

from typing import Any, Literal

from pydantic import Field, model_validator

from persyn.config.strict import Share, Strict

LEARNING_RATES = {"full": 2e-5, "lora": 2e-4}  # where none is given


class Lora(Strict):
    rank: int = Field(default=16, ge=1, description="of the matrices that are learnt beside each linear layer")
    alpha: int = Field(default=32, ge=1, description="they count by alpha / rank")


class StudentTraining(Strict):
    """None of these keys changes the run: a finished one takes new ones, and each training keeps those that it used."""

    method: Literal["full", "lora"] = Field(default="full", description="all weights, or small matrices beside them")
    lora: Lora = Lora()
    epochs: int = Field(default=3, ge=1, description="passes over the rows")
    batch_size: int = Field(default=4, ge=1, description="rows in a batch")
    accumulation: int = Field(default=8, ge=1, description="batches that make one step")
    learning_rate: float | None = Field(default=None, gt=0.0, description="none: 2e-5, and 2e-4 for lora")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="how the learning rate falls after the warmup"
    )
    warmup: Share = Field(default=0.03, lt=1.0, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(default=0.0, ge=0.0, description="of the optimiser")
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="of the rows' order and of lora's matrices; none: the run's"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="computes and is stored in it; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")
    checkpoint_steps: int = Field(default=100, ge=1, description="steps between two states that training resumes from")

    @model_validator(mode="after")
    def _lora_is_read(self) -> "StudentTraining":
        if self.method == "full" and self.lora != Lora():
            raise ValueError("lora: the method full does not read it. Set method: lora, or leave lora out")
        return self

    def hyperparameters(self) -> dict[str, Any]:
        """The values that change what is learnt; the seed is told apart, and what only costs time or room is none."""
        values = self.model_dump(mode="json", exclude={"seed", "checkpoint_steps", "gradient_checkpointing"})
        if self.method == "full":
            del values["lora"]
        return values | {"learning_rate": self.learning_rate or LEARNING_RATES[self.method]}
