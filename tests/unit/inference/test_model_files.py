"""A model is judged by its files: in a folder, in the hub's cache, or by the hub's own list."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from persyn.errors import ModelError
from persyn.inference import model_files

WHOLE = ("config.json", "tokenizer.json", "model.safetensors")


def folder(path: Path, *names: str) -> str:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return str(path)


@pytest.mark.parametrize(
    "names",
    [
        WHOLE,
        ("config.json", "tokenizer.model", "pytorch_model.bin"),
        ("config.json", "vocab.txt", "a-1-of-2.safetensors"),
    ],
)
def test_a_whole_folder_is_a_model(tmp_path: Path, names: tuple[str, ...]) -> None:
    model_files.require(folder(tmp_path / "m", *names), None)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "it lacks config.json and a tokenizer and weights"),
        (WHOLE[:2], "it lacks weights"),
        (WHOLE[1:], "it lacks config.json"),
        ((WHOLE[0], WHOLE[2]), "it lacks a tokenizer"),
        (("adapter_config.json", "adapter_model.safetensors"), "an adapter without its model"),
    ],
)
def test_a_folder_that_lacks_a_part_is_none(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        model_files.require(folder(tmp_path / "m", *names), None)


def test_a_broken_config_is_told(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", *WHOLE)
    (tmp_path / "m" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        model_files.require(path, None)


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub that has the model `ours/whole` and no other."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.startswith("/api/models/ours/whole")
            body = json.dumps({"id": "ours/whole", "siblings": [{"rfilename": name} for name in WHOLE]}).encode()
            self.send_response(200 if found else 404)
            if not found:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow  # the hub's address is read when its library is imported: a process each
@pytest.mark.parametrize(
    ("ref", "told"),
    [("ours/whole", ""), ("ours/hole", "ModelError: ours/hole: there is no such folder, and the hub has no model")],
)
def test_the_hub_is_asked_for_the_list_of_files(tmp_path: Path, hub: str, ref: str, told: str) -> None:
    program = (
        "import sys; from persyn.inference import model_files\n"
        "try: model_files.require(sys.argv[1], None)\n"
        "except Exception as exc: print(type(exc).__name__, exc, sep=': ')\n"
    )
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", program, ref], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith(told) if told else done.stdout == "", done.stderr


@pytest.mark.slow  # likewise
def test_a_hub_that_is_out_of_reach_is_another_error(tmp_path: Path) -> None:
    program = (
        "from persyn.inference import model_files\n"
        "try: model_files.require('ours/whole', None)\n"
        "except Exception as exc: print(type(exc).__name__)\n"
    )
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "ServiceError", done.stderr


@pytest.mark.parametrize(
    ("layer", "has_one"),
    [("model.layers.0.mlp.up_proj.weight", True), ("model.layers.0.mlp.up_proj.qweight", True),
     ("transformer.h.0.mlp.c_fc.weight", False), ("model.layers.0.mlp.gate_up_proj.weight", False)],
)  # fmt: skip
def test_the_weights_own_names_tell_whether_there_is_an_up_projection(
    tmp_path: Path, layer: str, has_one: bool
) -> None:
    save_file({layer: np.zeros(1, np.float32)}, tmp_path / "model-2.safetensors")
    save_file({"lm_head.weight": np.zeros(1, np.float32)}, tmp_path / "model-1.safetensors")
    assert model_files.has_up_projection(str(tmp_path), None) is has_one


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 20, b"\x02" + bytes(7) + b"{]"])
def test_weights_that_cannot_be_read_tell_nothing_of_their_layers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert model_files.has_up_projection(str(tmp_path), None) is None


def test_a_chat_template_is_read_where_a_folder_has_one(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", *WHOLE)
    assert model_files.chat_template(path, None) is None
    (tmp_path / "m" / "tokenizer_config.json").write_text('{"chat_template": "{% if tools %}"}')
    assert "tools" in (model_files.chat_template(path, None) or "")
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ messages }}")
    assert model_files.chat_template(path, None) is not None
