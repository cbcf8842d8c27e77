"""`persyn monitoring`: alert rules, a scrape file and a dashboard, as this version's metrics need them."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from persyn.cli import terminal
from persyn.errors import ConfigError

FILES = {
    "alerts.yml": "alert rules for Prometheus",
    "prometheus.yml": "what Prometheus scrapes: give it your hosts",
    "dashboard.json": "a dashboard for Grafana: import it",
}


def monitoring(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made where it is missing.")],
    force: Annotated[bool, typer.Option("--force", help="Write over files that differ.")] = False,
) -> None:
    """Write alert rules and a scrape file for Prometheus, and a dashboard for Grafana, into a folder."""
    texts = {name: _text(name) for name in FILES}
    try:
        changed = [name for name, text in texts.items() if _differs(folder / name, text)]
        if changed and not force:
            raise ConfigError(
                f"{folder} has {', '.join(changed)} with other contents: --force writes over them, or name another"
                " folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{folder}: cannot write there: {exc.strerror}.") from exc
    for name, what in FILES.items():
        typer.echo(f"{terminal.safe(str(folder / name))}  {what}")


def _text(name: str) -> str:
    return (resources.files("persyn.cli") / "templates" / "monitoring" / name).read_text(encoding="utf-8")


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()
