"""The JSON Schema of a run's YAML, by which an editor completes keys and marks mistakes while a person types."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from persyn.config.run import RunConfig

FILE_NAME = "persyn.schema.json"


def json_schema() -> dict[str, Any]:
    """The schema of `RunConfig` as it is read: with its titles, descriptions and defaults."""
    schema = RunConfig.model_json_schema(mode="validation")
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "A run of PerSyn"}


def header(path: str) -> str:
    """The first line of a YAML whose schema lies at `path`, as the YAML language server reads it."""
    return f"# yaml-language-server: $schema={path}\n"
