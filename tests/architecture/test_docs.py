"""What the pages say exists: every command with its options, every path, every name in the code, every link."""

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from persyn.cli.main import app
from persyn.jobs.wake_ups import DRAIN
from tests.architecture.repository import ROOT, pages

PAGES = dict(pages())
# The changelog also tells of what once was.
TODAY = {page: text for page, text in PAGES.items() if page != "CHANGELOG.md"}
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
WIDTH = 120
# A recipe's own file, which each reader calls otherwise.
EXAMPLE = re.compile(r"mine\b|NNNN_|/x/y\.py$|/x/test_y\.py$|/y\.py$")

# The pages show the house as it will stand: files that are about to come, and such as are about to go. Both may only
# shrink.
COMING: set[str] = set()
GOING: set[str] = set()


def commands_in(text: str) -> Iterator[str]:
    """Every line of a fence and every inline code that calls persyn, without its comment and its prompt."""
    for fence in FENCE.findall(text):
        for line in fence.splitlines():
            if (call := line.removeprefix("$ ")).startswith("persyn "):
                yield re.split(r"\s#|\s[|&>]", call)[0].strip()
    yield from (code for code in INLINE.findall(FENCE.sub("", text)) if code.startswith("persyn "))


def cli() -> Any:
    return get_command(app)


def leaves(command: Any, words: tuple[str, ...] = ("persyn",)) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield words
    for name, child in children.items():
        yield from leaves(child, (*words, name))


def resolve(line: str) -> tuple[Any, tuple[str, ...], list[str]]:
    """The command that a line calls, its words, and the words that are left."""
    command, words, rest = cli(), ("persyn",), shlex.split(line)[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        words = (*words, rest[0])
        command = command.commands[rest.pop(0)]
    return command, words, rest


CALLS = sorted({(page, line) for page, text in TODAY.items() for line in commands_in(text)})


@pytest.mark.parametrize(("page", "line"), CALLS)
def test_a_command_exists_with_its_options(page: str, line: str) -> None:
    command, _, rest = resolve(line)
    words = [word for word in rest if not word.startswith("-")]
    assert not getattr(command, "commands", {}) or command.invoke_without_command or not words, f"{page}: no command"
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word.split("=")[0] for word in rest if word.startswith("-") and word != "-"}
    assert command.context_settings.get("ignore_unknown_options") or given <= {*known, "--help"}, page


def test_every_command_stands_in_the_table_of_commands() -> None:
    listed = {resolve(line)[1] for line in commands_in(PAGES["docs/commands.md"])}
    assert set(leaves(cli())) - listed == set()


def named_paths(text: str) -> Iterator[str]:
    """Every inline code that begins with one of the repository's folders or is one of its files, braces spelled out."""
    top = {path.name for path in ROOT.iterdir()}
    for code in INLINE.findall(FENCE.sub("", text)):
        path = re.sub(r":\d+$", "", code).removesuffix("/")
        if re.fullmatch(r"[\w.][\w./*{},-]*", path) and path.split("/")[0] in top:
            yield from spelled_out(path)


def spelled_out(path: str) -> list[str]:
    before, brace, rest = path.partition("{")
    if not brace:
        return [path]
    inside, _, after = rest.partition("}")
    return [whole for part in inside.split(",") for whole in spelled_out(before + part + after)]


def is_there(path: str) -> bool:
    return path in COMING or any(ROOT.glob(path))


def test_every_path_that_a_page_names_exists() -> None:
    named = {(page, path) for page, text in TODAY.items() for path in named_paths(text)}
    assert len(named) > 50
    assert {(page, path) for page, path in named if not is_there(path) and not EXAMPLE.search(path)} == set()


def tree_paths(text: str) -> Iterator[str]:
    """The paths of a fence that draws a tree of folders: `name  purpose`, two spaces deeper inside a folder."""
    for fence in FENCE.findall(text):
        folders: list[str] = []
        for line in fence.splitlines()[1:-1]:
            found = re.match(r"( *)([\w./*]+(?:, [\w./*]+)*)(?:  .*)?$", line)
            if found is None or not fence.startswith("```tree"):
                continue
            del folders[len(found[1]) // 2 :]
            names = found[2].split(", ")
            yield from ("".join(folders) + name for name in names)
            folders.append(names[0])


def test_every_path_of_a_drawn_tree_exists() -> None:
    drawn = {(page, path) for page, text in TODAY.items() for path in tree_paths(text)}
    assert len(drawn) > 50
    assert {(page, path) for page, path in drawn if not is_there(path)} == set()


def test_the_architecture_draws_every_module() -> None:
    drawn = {path for path in tree_paths(PAGES["docs/architecture.md"]) if path.endswith(".py")}
    modules = {
        path.relative_to(ROOT).as_posix()
        for folder in ("persyn", "workers", "api")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert modules - drawn - GOING == set()


def is_a_name(dotted: str) -> bool:
    """Whether a module of ours has this name: `persyn.chat`, `persyn.chat.conversation`."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.is_dir() and length == len(parts):
            return True
        if "/".join(parts[:length]) + ".py" in COMING:
            return True
        if path.with_suffix(".py").is_file():
            return parts[length:] == [] or parts[length] in top_level(path.with_suffix(".py").read_text("utf-8"))
    return False


def top_level(source: str) -> set[str]:
    """What a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def test_every_dotted_name_in_a_page_exists() -> None:
    dotted = re.compile(r"(?:persyn|workers|api|benchmarks)(?:\.\w+)+")
    named = {(page, code) for page, text in TODAY.items() for code in INLINE.findall(text) if dotted.fullmatch(code)}
    assert len(named) > 10
    assert {(page, code) for page, code in named if code != DRAIN and not is_a_name(code)} == set()


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_between_pages_leads_somewhere() -> None:
    links = [
        (page, target)
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))
        if not target.startswith(("http:", "https:"))
    ]
    assert len(links) > 30
    assert [(page, target) for page, target in links if not leads_somewhere(page, target)] == []


def leads_somewhere(page: str, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    return path.exists() and (not anchor or anchor in headings(path.read_text(encoding="utf-8")))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page not in PAGES:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+\.md)", PAGES[page]):
            todo.append(((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix())
    assert set(PAGES) - reached == set()


def test_no_line_of_prose_is_too_wide() -> None:
    wide = [
        f"{page}: {line[:60]}"
        for page, text in PAGES.items()
        if page != "docs/reliability.md"  # `make chaos` writes a part of it
        for line in FENCE.sub("", text).splitlines()
        if len(line) > WIDTH and not line.startswith("|")
    ]
    assert wide == []
