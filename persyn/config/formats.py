"""The form of a `response_format`, so that a slip in it is told before a server refuses every request."""

import re
from typing import Any

_SCHEMA = "json_schema: {name: answer, schema: {type: object, …}}"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_A_SCHEMA = {"type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}


def check_format(given: Any) -> None:
    """Raises ValueError where a format is in no form that servers take. A type that is not known here is theirs."""
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(kind, str):
        raise ValueError("response_format needs a type: json_object, or json_schema with a schema")
    if kind != "json_schema":
        return
    inner = given.get("json_schema")
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise ValueError(f"response_format has no schema where servers read it; write type: json_schema, {_SCHEMA}")
    if not isinstance(inner.get("name"), str) or not _NAME.fullmatch(inner["name"]):
        raise ValueError("response_format.json_schema needs a name of letters, digits, - and _, such as answer")
    schema = inner["schema"]
    if schema and not schema.keys() & _OF_A_SCHEMA:
        raise ValueError(
            f"response_format.json_schema.schema says nothing of a type; write {_SCHEMA}, with the fields as properties"
        )
