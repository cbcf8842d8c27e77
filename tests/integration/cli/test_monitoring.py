"""`persyn monitoring`: the files are whole, and ask for nothing that a worker or the API does not expose."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from persyn.cli import monitoring
from persyn.errors import ConfigError
from persyn.reporting import gauges
from persyn.workers import health

if TYPE_CHECKING:
    from tests.integration.conftest import World

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
PROMTOOL = shutil.which("promtool")
OF_PROMETHEUS = {"instance", "job", "host", "le"}  # the labels that the scrape file and the histogram bring


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    monitoring.monitoring(tmp_path / "made", force=False)
    return tmp_path / "made"


def queries(folder: Path) -> Iterator[str]:
    (group,) = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((folder / "dashboard.json").read_text())["panels"]:
        yield from (re.sub(r"\$(\w+)", r"\1", target["expr"]) for target in panel["targets"])


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """Every series that a query asks for."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("expr", "lhs", "rhs", "vector_selector", "vs"):
        if (inside := getattr(node, part, None)) is not None:
            yield from selectors(inside)
    if isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)


def exposed(world: "World") -> dict[str, set[str]]:
    """Every series that a worker and the API expose, with its labels."""
    server = health.serve("127.0.0.1", 0, lambda: None)
    try:
        pages = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text + gauges.render(world.engine).decode()
    finally:
        server.shutdown()
        server.server_close()
    named = dict(re.findall(r"^# TYPE (persyn_\w+) (\w+)$", pages, re.MULTILINE))
    families = [*REGISTRY._collector_to_names, *gauges.Gauges(world.engine).collect()]
    labels = {each._name if hasattr(each, "_name") else each.name: {*each._labelnames} for each in families
              if hasattr(each, "_labelnames")}  # fmt: skip
    found: dict[str, set[str]] = {"up": set(), "persyn_build_info": {"program", "version", "python"}}
    for name, kind in named.items():
        own = labels.get(name.removesuffix("_total"), set())
        found |= {f"{name}{part}": own for part in ("_bucket", "_count", "_sum")} if kind == "histogram" else {}
        found.setdefault(name, own)
    return found


def test_every_query_is_promql_about_series_and_labels_that_exist(folder: Path, world: "World") -> None:
    there, asked = exposed(world), set()
    for query in queries(folder):
        found = list(selectors(promql_parser.parse(query)))
        assert found, query
        labels = set[str]()
        for selector in found:
            assert selector.name in there, query
            labels |= there[selector.name] | OF_PROMETHEUS
            assert {matcher.name for matcher in selector.matchers.matchers} <= there[selector.name] | OF_PROMETHEUS, (
                query
            )
        assert {name for by in re.findall(r"(?:by|on) \(([^)]*)\)", query) for name in by.split(", ")} <= labels, query
        asked |= {selector.name for selector in found}
    assert len(asked) > 20


def test_the_dashboard_can_be_narrowed_to_a_run_a_queue_a_teacher_and_a_host(folder: Path, world: "World") -> None:
    there = exposed(world)
    variables = json.loads((folder / "dashboard.json").read_text())["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "run", "queue", "teacher", "host"]
    for variable in variables[1:]:
        series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        assert label in there[series] | OF_PROMETHEUS
        assert f'{label}=~"${label}"' in (folder / "dashboard.json").read_text().replace('\\"', '"')


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian's package prometheus has it)")
def test_promtool_takes_the_rules_and_the_scrape_file(folder: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", "prometheus.yml"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 rules found" in done.stdout


def test_files_of_yours_are_not_written_over_unless_you_say_so(folder: Path) -> None:
    monitoring.monitoring(folder, force=False)  # nothing has changed
    (folder / "prometheus.yml").write_text("mine")
    with pytest.raises(ConfigError, match=r"has prometheus\.yml with other contents: --force"):
        monitoring.monitoring(folder, force=False)
    assert (folder / "prometheus.yml").read_text() == "mine"
    monitoring.monitoring(folder, force=True)
    assert "persyn-worker" in (folder / "prometheus.yml").read_text()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write there"):
        monitoring.monitoring(tmp_path / "file" / "below", force=False)


def test_the_operators_page_names_every_metric_and_no_other(world: "World") -> None:
    named = set(re.findall(r"`(persyn_[a-z_]+)[`{]", PAGE.read_text(encoding="utf-8")))
    parts = ("_bucket", "_count", "_sum")
    there = {name for name in exposed(world) if name.startswith("persyn_") and not name.endswith(parts)}
    assert named == {name for name in there if not name.endswith("_created")}
