"""The manifest of an export: what its files hold, where it comes from, what stayed behind and what is missing."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from persyn.config import Column, Flaw, Format, Layout, Order, Reasoning

# `below_bar`: in files of their own, which no loader takes for training data.
Split = Literal["train", "validation", "below_bar"]
BELOW_BAR: Split = "below_bar"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExportedFile(_Frozen):
    format: Format
    split: Split
    name: str
    rows: int
    bytes: int
    sha256: str


class RouterVersion(_Frozen):
    id: int
    sha256: str


class Manifest(_Frozen):
    run: str
    run_id: int
    student: str
    policy: str
    config_sha256: str
    router: RouterVersion | None
    run_code_version: str
    export_code_version: str
    layout: Layout
    reasoning: Reasoning
    keep: list[Flaw]
    columns: list[Column]
    order: Order = "given"  # easy_first, hard_first: by the student's mean loss on the answer; rows without one last
    prompts: int  # of the set; of the prompts with several answers where rows are preferences
    rows: int
    rows_by_split: dict[Split, int]
    rows_by_teacher: dict[str, int]  # of preferences: the chosen answers
    rows_below_bar: int = Field(default=0, exclude_if=lambda number: number == 0)  # beside the rows, in their own files
    unchecked: int  # rows whose quality nobody measured
    passed_over: int = Field(default=0, exclude_if=lambda number: number == 0)  # further answers to a row's prompt
    flawed: dict[str, int]  # rows that were kept although something speaks against them, by flaw
    left_out: dict[str, int]  # prompts whose answer stayed behind, by flaw
    benchmarks: dict[str, str]  # files whose items no row may hold, with their sha256
    missing: dict[str, int]  # prompts without an answer, by reason
    longest_row: int  # characters of its prompt and answer
    files: list[ExportedFile]
    documents: list[str]  # further files, for people and for the layout's reader

    def outcome(self) -> str:
        """The counts as one sentence, without its full stop: `1,992 of 2,000 rows (left out: 8 wrong)`."""
        remarks = [
            f"{what}: {', '.join(f'{number:,} {reason}' for reason, number in counts.items())}"
            for what, counts in (("left out", self.left_out), ("kept", self.flawed), ("missing", self.missing))
            if counts
        ]
        if self.rows_below_bar:
            remarks.append(f"in files of their own: {self.rows_below_bar:,} below_bar")
        if self.passed_over:
            remarks.append(f"best of several: {self.passed_over:,} further answers passed over")
        if self.unchecked:
            remarks.append(f"unchecked: {self.unchecked:,}")
        return f"{self.rows:,} of {self.prompts:,} rows" + (f" ({'; '.join(remarks)})" if remarks else "")
