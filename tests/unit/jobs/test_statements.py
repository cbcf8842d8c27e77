"""The files of the queue's statements: whole, described, and agreed on the one number that they spell out."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import TextClause

from persyn.db.models import Job
from persyn.jobs import protocol, statements

SQL = Path(str(statements.__file__)).with_name("sql")
FILES = sorted(SQL.glob("*.sql"), key=lambda path: path.name)


def header(path: Path) -> str:
    """The comment on top, in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return " ".join(line.removeprefix("--").strip() for line in lines[:first])


def test_every_file_is_a_statement_and_every_statement_a_file() -> None:
    named = {name.lower() for name, value in vars(statements).items() if isinstance(value, TextClause)}
    assert named == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_header_says_who_calls_it_and_which_index_serves_it(path: Path) -> None:
    said = re.fullmatch(r"(.+\.) Called by (.+?)\. Index: (.+)\.", header(path))
    assert said is not None
    callers = re.findall(r"\b(protocol|operators|backlog)(?:\.(\w+))?", said[2])
    assert callers
    for module, function in callers:
        assert function == "" or hasattr(import_module(f"persyn.jobs.{module}"), function)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_one_statement_with_one_style_of_casts(path: Path) -> None:
    whole = path.read_text(encoding="utf-8")
    assert whole.endswith(";\n")
    assert not re.search(r"::|[{}]|\bTODO\b|;.*;", re.sub(r"--.*", "", whole), re.DOTALL)


def test_comments_are_not_sent() -> None:
    assert "--" not in "".join(getattr(statements, path.stem.upper()).text for path in FILES)


def test_the_number_of_losses_from_which_a_job_runs_alone_is_one_everywhere() -> None:
    indexes = {index.name: str(index.dialect_options["postgresql"]["where"]) for index in Job.__table__.indexes}
    texts = [indexes["ix_job_ready"], indexes["ix_job_suspect"], *(path.read_text(encoding="utf-8") for path in FILES)]
    compared = [re.findall(r"lost_count (?:<|>=) (\d+)", text) for text in texts]
    assert compared[0] == compared[1] == [str(protocol.ALONE_AFTER_LOSSES)]
    assert {number for numbers in compared for number in numbers} == {str(protocol.ALONE_AFTER_LOSSES)}


def test_a_stages_select_takes_the_place_of_the_one_in_the_file() -> None:
    statement = statements.from_source(statements.ENQUEUE, "SELECT * FROM wanted WHERE run_id = :run").text
    assert statement.startswith("WITH source AS (SELECT * FROM wanted WHERE run_id = :run), new AS (")
    assert statement.endswith(statements.ENQUEUE.text[statements.ENQUEUE.text.index("INSERT INTO job (") :])
    assert ":kind" not in statement
