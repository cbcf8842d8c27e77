"""The README's commands exist, with the options that it gives them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from persyn.cli.main import app

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
FENCED = "\n".join(re.findall(r"^```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE))
INLINE = re.findall(r"`(persyn [^`]+)`", README)
COMMANDS = sorted(
    {line.split("#")[0].strip() for line in FENCED.splitlines() if line.startswith("persyn ")} | set(INLINE)
)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command, words


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_with_its_options(line: str) -> None:
    command, rest = resolve(shlex.split(line)[1:])
    assert getattr(command, "invoke_without_command", True), f"{line}: names no command"
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known
