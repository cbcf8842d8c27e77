"""One word, one thing: names of classes, names of imports, and how a docstring opens."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.architecture.repository import CODE, modules

# A section of the YAML, a row of the database, and the thing that both are about may share its name.
SAME_THING = {
    "Export": {"persyn/config/export.py", "persyn/db/models/results.py"},
    "Prompt": {"persyn/db/models/runs.py", "persyn/imports/prompt_records.py"},
    "RewardModel": {"persyn/config/scorers.py", "persyn/rewards/quality/reward_model.py"},
    "Router": {"persyn/config/router.py", "persyn/db/models/results.py"},
    "Run": {"persyn/db/models/runs.py", "persyn/python.py", "persyn/runs.py"},
    "Server": {"persyn/config/teachers.py", "persyn/inference/servers/server.py"},
    "Student": {"persyn/config/teachers.py", "persyn/db/models/runs.py", "persyn/rewards/learnability/student.py"},
    "Teacher": {"persyn/config/teachers.py", "persyn/db/models/runs.py"},
    "Worker": {"persyn/db/models/queue.py", "persyn/jobs/workers.py", "workers/worker.py"},
}


RIDDLE = re.compile(r"(What|Which|Of|As|Whom|How)\b")


def classes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in modules(*CODE):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(path)
    return found


def test_no_two_public_classes_share_a_name() -> None:
    twice = {name for name, paths in classes().items() if len(paths) > 1 and not paths <= SAME_THING.get(name, set())}
    assert twice == set()


def aliases() -> Iterator[str]:
    """Every import of a module or a name of ours under another name."""
    ours = (*CODE, "migrations", "benchmarks")
    for path, tree in modules(*ours):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in node.names:
                    source = (node.module or "") if isinstance(node, ast.ImportFrom) else name.name
                    if name.asname not in (None, name.name) and source.split(".")[0] in ours:
                        yield f"{path}: {name.name} as {name.asname}"


def test_nothing_of_ours_is_imported_under_another_name() -> None:
    assert list(aliases()) == []


def riddles() -> list[str]:
    """Every docstring that opens with a clause in place of the thing."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        f"{path}:{getattr(node, 'lineno', 1)} {docstring.splitlines()[0]}"
        for path, tree in modules(*CODE, "benchmarks")
        for node in ast.walk(tree)
        if isinstance(node, kinds) and (docstring := ast.get_docstring(node)) and RIDDLE.match(docstring)
    ]


def test_no_docstring_opens_like_a_riddle() -> None:
    assert riddles() == []
