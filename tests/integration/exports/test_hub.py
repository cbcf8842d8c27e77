"""`persyn export --push` against a hub that speaks HTTP: what is committed, and what is refused or fails."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persyn.services import Endpoints
from tests.integration.exports.conftest import Tables
from tests.integration.exports.hub_server import HubServer, hub_server

TOKEN = "hf_a-token-that-nobody-may-see"


class Publisher:
    """A run with answers, and the command that exports it to a hub."""

    def __init__(self, hub: HubServer, folder: Path, environment: dict[str, str]) -> None:
        self.hub, self.folder = hub, folder
        self.environment = environment | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}

    def push(self, *options: str, code: int = 0) -> str:
        """Export and push; what the command said, without the token."""
        command = [sys.executable, "-m", "persyn", "export", "first", "--out", str(self.folder), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=300)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert TOKEN not in said
        assert "Traceback" not in said
        return done.stdout if code == 0 else done.stderr.splitlines()[-1]

    def local(self) -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self.folder.iterdir()}

    def remote(self, name: str) -> dict[str, str]:
        files = {path: data for path, data in self.hub.files[name].items() if path != ".gitattributes"}
        return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


@pytest.fixture
def publisher(engine: Any, database_url: str, endpoints: Endpoints, tmp_path: Path) -> Iterator[Publisher]:
    tables = Tables(engine, tmp_path, prompts=6)
    for prompt in range(6):
        tables.decide(prompt, "small")
        tables.answer(prompt, "small", f"answer {prompt}")
    environment = dict(os.environ) | {
        "PERSYN_DATABASE_URL": database_url,
        "PERSYN_BROKER_URL": endpoints.broker_url,
        "PERSYN_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
    }
    with hub_server(TOKEN) as hub:
        yield Publisher(hub, tmp_path / "out", environment)


def test_the_commit_holds_the_folder_and_the_next_one_takes_away_what_has_no_successor(publisher: Publisher) -> None:
    said = publisher.push("--format", "jsonl,parquet", "--validation", "0.5", "--push", "jane/maths", "--private")
    assert said.splitlines()[-1] == f"Pushed: {publisher.hub.url}/datasets/jane/maths/commit/{'c' * 40}"
    assert publisher.hub.private == {"jane/maths": True}
    remote = publisher.remote("jane/maths")
    assert remote == publisher.local()
    manifest = json.loads(publisher.hub.files["jane/maths"]["manifest.json"])
    assert {file["name"]: file["sha256"] for file in manifest["files"]}.items() <= remote.items()
    assert "validation.jsonl" in remote
    assert len(publisher.hub.objects) == 2, "Parquet went by LFS"

    publisher.hub.files["jane/maths"]["theirs.txt"] = b"of somebody else"
    (publisher.folder / "private-notes.txt").write_text("not for the hub")
    publisher.push("--format", "jsonl", "--push", "jane/maths")
    assert publisher.remote("jane/maths").keys() - {"theirs.txt"} == publisher.local().keys() - {"private-notes.txt"}
    assert "validation.jsonl" not in publisher.remote("jane/maths")
    assert publisher.hub.commits == ["Export of the run first by PerSyn"] * 2


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (["--push", "maths"], {}, "persyn: --push: got 'maths'; expected OWNER/NAME of a data set on the hub"),
        (["--push", "jane/a--b"], {}, "persyn: --push: got 'jane/a--b'; expected OWNER/NAME"),
        (["--push", "jane/maths"], {"HF_TOKEN": " "}, "persyn: --push: HF_TOKEN is not set."),
        (["--private"], {}, "persyn: --private: it is about --push."),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_written(
    publisher: Publisher, options: list[str], environment: dict[str, str], told: str
) -> None:
    publisher.environment |= environment
    assert publisher.push(*options, code=2).startswith(told)
    assert not publisher.folder.exists()
    assert publisher.hub.files == {}


def test_a_host_without_the_library_is_told_before_anything_is_written(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "huggingface_hub.py").write_text("raise ImportError('not here')\n")
    publisher.environment |= {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "lacking"), os.environ.get("PYTHONPATH", "")])
    }
    assert publisher.push("--push", "jane/maths", code=1).endswith("which is not installed. Install persyn[hub].")
    assert not publisher.folder.exists()


@pytest.mark.parametrize(
    ("refuse", "token", "told"),
    [
        ({}, "hf_another-token", "the hub does not know the token in HF_TOKEN; make one that may write (401)"),
        ({"create": 403, "/api/datasets": 403}, TOKEN, "the token in HF_TOKEN may not write there (403)"),
        ({"/commit/": 404}, TOKEN, "there is no such owner or data set, or the token may not see it (404)"),
        ({"/lfs/objects": 400}, TOKEN, "Bad request: the hub says no"),
        ({"/store/": 400}, TOKEN, "Error while uploading 'train.parquet' to the Hub: Bad request: the hub says no"),
    ],
)
def test_an_upload_that_fails_is_one_sentence_and_leaves_the_export_whole(
    publisher: Publisher, refuse: dict[str, int], token: str, told: str
) -> None:
    publisher.hub.refuse = refuse
    publisher.environment["HF_TOKEN"] = token
    sentence = publisher.push("--format", "parquet", "--push", "jane/maths", code=1)
    assert sentence == (
        f"persyn: jane/maths: the export was not pushed: {told}. It is whole in {publisher.folder}; the same command"
        " pushes it again."
    )
    local = publisher.local()
    manifest = json.loads((publisher.folder / "manifest.json").read_text())
    assert {file["name"]: file["sha256"] for file in manifest["files"]}.items() <= local.items()
    assert publisher.hub.commits == []


def test_a_hub_that_is_away_is_one_sentence(publisher: Publisher) -> None:
    publisher.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    sentence = publisher.push("--push", "jane/maths", code=1)
    assert sentence.startswith("persyn: jane/maths: the export was not pushed: ")
    assert "refused" in sentence.lower()
    assert "manifest.json" in publisher.local()


def test_a_private_push_never_goes_into_a_public_data_set(publisher: Publisher) -> None:
    publisher.push("--push", "jane/maths")
    publisher.hub.commits.clear()
    refused = publisher.push("--push", "jane/maths", "--private", code=2)
    assert refused.startswith("persyn: --private: the data set jane/maths is there already, and public.")
    assert publisher.hub.commits == []
