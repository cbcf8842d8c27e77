"""A slip in the form of a `response_format` is told with what to write."""

import re
from typing import Any

import pytest

from persyn.config import Sampling, parse_run
from persyn.config.formats import check_format
from persyn.errors import ConfigError

SCHEMA = {"type": "object", "properties": {"answer": {"type": "number"}}, "required": ["answer"]}
GOOD = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


@pytest.mark.parametrize(
    "given",
    [GOOD, {"type": "json_object"}, {"type": "text"}, {"type": "structural_tag", "format": {}},
     {"type": "json_schema", "json_schema": {"name": "any", "schema": {}}}],
)  # fmt: skip
def test_a_format_that_a_server_may_take_is_taken(given: Any) -> None:
    check_format(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("json", "response_format needs a type"),
        ({"json_schema": SCHEMA}, "response_format needs a type"),
        ({"type": "json_schema"}, "has no schema where servers read it; write type: json_schema, json_schema: {"),
        ({"type": "json_schema", "schema": SCHEMA}, "response_format has no schema where servers read it"),
        ({"type": "json_schema", "json_schema": SCHEMA}, "response_format has no schema where servers read it"),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "json_schema needs a name"),
        ({"type": "json_schema", "json_schema": {"name": "an answer", "schema": SCHEMA}}, "needs a name of letters"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"a": "number"}}}, "says nothing of a type"),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_what_to_write(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        check_format(given)


@pytest.mark.parametrize("place", ["response_format", "extra_body"])
def test_both_places_of_a_run_are_looked_at(place: str) -> None:
    slip = {"type": "json_schema"}
    sampling = {place: slip if place == "response_format" else {"response_format": slip}}
    teachers = [{"name": name, "family": "f", "model": "m", "sampling": sampling} for name in "ab"]
    raw = {"name": "r", "prompts": "p", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    with pytest.raises(ConfigError, match=rf"teachers\[0\].sampling.{place}.*has no schema"):
        parse_run(raw, source="run.yaml")


def test_a_schema_leaves_as_it_stands_in_either_place() -> None:
    for given in ({"response_format": GOOD}, {"extra_body": {"response_format": GOOD}}):
        assert Sampling.model_validate(given).request(1)["response_format"] == GOOD
