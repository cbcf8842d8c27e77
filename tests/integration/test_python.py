"""The code of README.md and docs/python.md, run against stub teachers; and the sentences for mistakes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import persyn
from persyn.errors import ConfigError, InputError, MissingExtra, NotFound

if TYPE_CHECKING:
    from tests.integration.conftest import Site

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = 200
SMALL = """
"calibration": {"size": 24}, "router": {"backbone": "MODEL", "epochs": 2, "max_length": 64}, "teachers": pool
""".strip()


def code(page: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@pytest.fixture
def here(site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_six_lines_make_a_set_and_the_page_looks_at_it(site: "Site", here: Path, tiny_model: str) -> None:
    rows = [{"id": f"p{n}", "prompt": f"What is 42 + {n} - {n}?", "reference_answer": "42"} for n in range(PROMPTS)]
    pq.write_table(pa.Table.from_pylist(rows), here / "prompts.parquet")
    lines = code("README.md")
    assert len([line for line in lines.splitlines() if line]) == 6
    for theirs, ours in (
        ('"Qwen/Qwen3-4B"', f'"{tiny_model}", "max_length": 400'),
        ('f"M{n}"', '"stub-model", "name": f"t{n}", "system_prompt": f"{n}"'),
        ('f"http://gpu{n}/v1"', f'"{site.stub.base_url}"'), ('"teachers": pool', SMALL),
        ("MODEL", tiny_model),
    ):  # fmt: skip
        assert theirs in lines
        lines = lines.replace(theirs, ours)
    site.configure_stub(answer="\\boxed{42}")
    site.start_worker()
    names: dict[str, Any] = {}
    try:
        exec(compile(lines, "README.md", "exec"), names)
        exec(compile(code("docs/python.md"), "docs/python.md", "exec"), names)
    finally:
        site.configure_stub(answer=None)
    exported = [json.loads(line) for line in (here / "sft" / "train.jsonl").read_text("utf-8").splitlines()]
    assert len(exported) == len(names["frame"]) == len(names["dataset"]) == PROMPTS
    assert {row["completion"][0]["content"] for row in exported} == {"\\boxed{42}"}
    assert set(names["frame"].quality) == {1.0}
    assert names["trail"].decision.basis in ("measured", "router")
    assert names["same_run"].status().state == "finished"


def test_mistakes_are_sentences(site: "Site", here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "empty.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(InputError, match="no prompt came of 1 records"):
        persyn.import_prompts("empty.jsonl", set="mine")
    with pytest.raises(ConfigError, match="did you mean"):
        persyn.Run({"nam": "x"})
    with pytest.raises(NotFound, match="There is no run 'nobody'"):
        persyn.Run("nobody").status()
    site.prepare()
    run = persyn.Run(site.config_file)
    with pytest.raises(persyn.PersynError, match="has routed no prompt yet"):
        run.export("out")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pip install pandas"):
        run.to_pandas()


def test_importing_loads_only_what_is_asked_for() -> None:
    program = "import persyn, sys; assert 'persyn.python' not in sys.modules; persyn.Run; print(len(dir(persyn)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
