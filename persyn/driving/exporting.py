"""A run's export, by its own section or by what is given in place of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from persyn import exports, reporting, runs
from persyn.config import Export, Policy, RunConfig, Settings, parse_run
from persyn.errors import ConfigError, PersynError
from persyn.exports.manifest import Manifest

if TYPE_CHECKING:
    from sqlalchemy import Engine


def section(config: RunConfig, changes: Mapping[str, Any]) -> Export:
    """The run's export section with the options in place of its keys. Raises ConfigError."""
    raw = config.model_dump(mode="json")
    if changes.get("layout") == "verl":
        changes = {"formats": "parquet", **changes}
    return parse_run(raw | {"export": raw["export"] | changes}, source="options").export


def known_policy(name: str | None) -> Policy | None:
    """The policy of this name. Raises ConfigError."""
    for policy in get_args(Policy):
        if name == policy:
            return policy  # type: ignore[no-any-return]
    if name is not None:
        raise ConfigError(f"--policy: got {name!r}; choose one of {', '.join(get_args(Policy))}.")
    return None


def write(
    engine: "Engine", run_id: int, folder: Path | None = None, export: Export | None = None,
    policy: Policy | None = None, benchmarks: Sequence[Path] = (),
) -> tuple[Path, Manifest]:  # fmt: skip
    """Write the export; return its folder, by default the run's own one under the home, and its manifest."""
    with engine.connect() as conn:
        config = runs.load(conn, run_id).config
    export = export or config.export
    require_decisions(engine, run_id, export, policy)
    folder = folder or Settings.from_environment().home / "exports" / config.name
    return folder, exports.export_run(engine, run_id, folder, export, policy, benchmarks)


def require_decisions(engine: "Engine", run_id: int, export: Export, policy: Policy | None) -> None:
    """Raises PersynError where the run has routed nothing that this export could hold."""
    with engine.connect() as conn:
        status = reporting.status(conn, run_id)
    if status.decided == 0 and export.layout != "preference" and policy in (None, status.policy):
        raise PersynError(
            f"Run {status.name} has routed no prompt yet, so there is nothing to export."
            f" `persyn status {status.name}` shows how far it is."
        )


def require_rows(manifest: Manifest) -> None:
    """Raises PersynError where an export holds nothing."""
    if manifest.rows == 0:
        raise PersynError(f"No answer of run {manifest.run} can be exported: {manifest.outcome()}.")
