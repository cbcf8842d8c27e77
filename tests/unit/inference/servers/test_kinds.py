import importlib.util
import sys

import pytest

from persyn.errors import ConfigError, MissingExtra
from persyn.inference.servers import kinds, vllm
from persyn.inference.servers.spec import ServerSpec


def test_auto_is_vllm_then_transformers_then_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"vllm", "transformers"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    assert kinds.resolve("auto") == "vllm"
    installed.remove("vllm")
    assert kinds.resolve("auto") == "transformers"
    installed.clear()
    with pytest.raises(MissingExtra, match=r"persyn\[vllm\]"):
        kinds.resolve("auto")
    assert kinds.resolve("stub") == "stub"


def test_a_users_arguments_come_last_so_that_they_win() -> None:
    for kind in ("transformers", "stub"):
        argv = kinds.command(ServerSpec("/m", args=("--log-level", "info"), kind=kind), 1)  # type: ignore[arg-type]
        assert argv[0] == sys.executable
        assert argv[-2:] == ["--log-level", "info"]


def test_a_revision_is_part_of_the_models_name_for_transformers_alone() -> None:
    spec = ServerSpec("org/m", revision="abc", kind="transformers")
    assert kinds.model_name(spec) == "org/m@abc"
    assert "org/m@abc" in kinds.command(spec, 1)
    assert kinds.model_name(spec._replace(kind="vllm")) == "org/m"


def test_what_a_kind_cannot_do_is_refused_before_it_starts() -> None:
    with pytest.raises(ConfigError, match="only vLLM spreads a model over GPUs"):
        kinds.command(ServerSpec("m", kind="transformers", tensor_parallel=2), 1)
    with pytest.raises(ConfigError, match="max_model_len"):
        kinds.command(ServerSpec("m", kind="transformers", max_model_len=64), 1)


@pytest.mark.parametrize(("gpus", "expected"), [(1, False), (2, True)])
def test_vllm_spreads_a_model_only_where_asked(gpus: int, expected: bool) -> None:
    argv = vllm.command(ServerSpec("m", tensor_parallel=gpus), 1, cpu=False)
    assert ("--tensor-parallel-size" in argv) is expected
