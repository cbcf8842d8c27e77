"""The export's section: which rows leave a run, and in which shape. It changes no result, so it may always change."""

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from persyn.config.strict import Strict

Format = Literal["jsonl", "parquet"]
Layout = Literal["prompt_completion", "messages", "preference", "llamafactory", "axolotl", "verl", "openai"]
Reasoning = Literal["field", "think", "drop"]
Order = Literal["given", "easy_first", "hard_first"]
Flaw = Literal["wrong", "below_bar", "cut", "empty", "unfinished_thought", "filtered", "refused", "tool_call", "failed"]
Column = Literal[
    "quality", "learnability", "reward", "basis", "flaws", "finish_reason", "prompt_tokens", "completion_tokens",
    "answered_at", "teacher_family", "teacher_model", "teacher_revision", "prompt_sha256", "reference_answer",
    "metadata",
]  # fmt: skip

BARE: tuple[Layout, ...] = ("openai", "verl")  # whoever reads these layouts refuses other columns, or sees none

NO_LOGLIK = (
    "rows are ordered by the student's loss on them, and no measure of this run is loglik. Add kind: loglik to"
    " scorers.learnability (with weight: 0 the reward stays as it is), or leave the order out"
)

_ALL: dict[str, tuple[str, ...]] = {"formats": get_args(Format), "keep": get_args(Flaw), "columns": get_args(Column)}


class Export(Strict):
    """A list may also be given as one text with commas, or as `all`."""

    formats: list[Format] = Field(default=["jsonl"], min_length=1)
    layout: Layout = "prompt_completion"
    keep: list[Flaw] = Field(default=[], description="flawed answers that are exported all the same")
    columns: list[Column] = Field(default=[], description="columns beside the text and the ids")
    reasoning: Reasoning | None = Field(default=None, description="none: as the layout's reader wants it")
    validation: float = Field(default=0.0, ge=0.0, lt=1.0, description="share of the prompts in files of their own")
    margin: float = Field(default=0.0, ge=0.0, description="preference: the least difference of two rewards")
    order: Order = Field(default="given", description="the prompts' own, or by the student's loss on each answer")

    @field_validator("formats", "keep", "columns", mode="before")
    @classmethod
    def _listed(cls, given: Any, info: Any) -> Any:
        words = given.split(",") if isinstance(given, str) else given
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return given
        words = [word.strip() for word in words if word.strip()]
        return list(_ALL[info.field_name]) if "all" in words else list(dict.fromkeys(words))

    @model_validator(mode="after")
    def _layout_can_hold_it(self) -> "Export":
        if self.layout == "verl" and "parquet" not in self.formats:
            raise ValueError("formats: verl reads Parquet; name parquet, or choose another layout")
        if self.layout in BARE and self.columns:
            raise ValueError(f"columns: a row of the layout {self.layout} has no further columns; leave this out")
        if self.layout == "preference" and self.order != "given":
            raise ValueError("order: a row of the layout preference has two answers; leave this out")
        if self.layout in BARE and self.reasoning == "field":
            raise ValueError(f"reasoning: the layout {self.layout} has no field for it; choose think or drop")
        return self
