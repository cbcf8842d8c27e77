"""What the import says when it is done."""

from pathlib import Path

from persyn.cli.prompts import _summary
from persyn.imports.prompts import PromptImport


def test_the_summary_names_the_rejects_file_only_where_there_is_one() -> None:
    assert _summary("math", PromptImport(1200, 1100, 100, 0, 0, None, 1)) == (
        "1,100 of 1,200 prompts imported into math; 100 were there already, 0 refused."
    )
    assert _summary("math", PromptImport(2, 1, 0, 0, 1, Path("r.jsonl"), 1)).endswith("Why each was refused: r.jsonl")
