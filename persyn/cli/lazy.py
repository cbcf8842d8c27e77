"""A group of commands whose modules load when they are called, so that `persyn --help` shows all and imports none."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command, or a group of them, before its module is loaded."""

    target: str  # module:name of a function or of a typer.Typer
    help: str  # its line in the list of commands: the first paragraph of its own help


class LazyGroup(TyperGroup):
    """Subclasses say in `entries` what there is, in the order in which it is listed."""

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loaded(self.entries)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command as the list of commands shows it: a name and a line."""
        entry = self.entries.get(cmd_name)
        return entry and TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, loaded."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and self.commands[name], rest


class _Loaded(Mapping[str, Any]):
    """The commands themselves; asking for one imports its module."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._entries[name].target.partition(":")
        target, shell = getattr(import_module(module), attribute), typer.Typer(add_completion=False)
        if isinstance(target, typer.Typer):
            shell.add_typer(target, name=name)
        else:
            shell.command(name)(target)
        return typer.main.get_group(shell).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
