from importlib.util import find_spec
from pathlib import Path

import pytest

from persyn.errors import ModelError
from persyn.inference import models
from persyn.inference.models import Bundled, model_path


@pytest.mark.models
@pytest.mark.skipif(not all(map(find_spec, models.CONVERTERS)), reason="needs persyn[local]")
def test_a_broken_file_leaves_nothing_that_could_be_taken_for_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.gguf").write_bytes(b"GGUF, but not really")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(models.BUNDLED, "broken", Bundled("broken_package", "broken-package", "broken.gguf"))
    with pytest.raises(ModelError, match=r"broken\.gguf: cannot be converted"):
        model_path("bundled:broken", None, tmp_path / "home")
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == ["broken.lock"]
