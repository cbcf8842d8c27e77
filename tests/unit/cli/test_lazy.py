"""Commands load when they are called: the list of them shows what they say of themselves, and loads none."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from persyn.cli import main
from persyn.cli.main import COMMANDS, app

LOADED = """
import sys
from persyn.cli.main import main
sys.argv = ["persyn", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted(name for name in sys.modules), file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a fresh `persyn` has loaded at the end of a call."""
    done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_beginning_of_its_own_help(name: str) -> None:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    first, _, _ = command.help.partition("\n\n")
    assert " ".join(first.split()) == COMMANDS[name].help
    assert command.name == name


def test_the_list_of_commands_loads_none_of_them() -> None:
    modules = loaded_by("--help")
    assert {name for name in modules if name.startswith("persyn.")} == {
        "persyn.cli", "persyn.cli.lazy", "persyn.cli.main", "persyn.errors", "persyn.logs", "persyn.secrets",
    }  # fmt: skip
    assert modules.isdisjoint({"sqlalchemy", "numpy", "pydantic", "celery"})


def test_a_call_loads_the_module_of_its_command_alone() -> None:
    modules = loaded_by("init", "--help")
    assert "persyn.cli.init" in modules
    assert modules.isdisjoint({entry.target.partition(":")[0] for entry in COMMANDS.values()} - {"persyn.cli.init"})


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["router", "train", "--help"], ["worker", "--help"], ["status", "--help"]])
def test_commands_with_heavy_work_elsewhere_load_no_torch_and_no_scipy(arguments: list[str]) -> None:
    assert loaded_by(*arguments).isdisjoint({"torch", "transformers", "scipy"})


def test_a_misspelt_command_is_refused_with_the_one_that_was_meant() -> None:
    done = CliRunner().invoke(main.app, ["audt"])
    assert done.exit_code == 2
    assert "Did you mean 'audit'?" in done.output


def test_no_command_asks_for_shell_completion_to_be_installed() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert not [option for option in command.params if "completion" in option.name], name
