"""`router.artifact`: what was written comes back, and nothing else does."""

import json
from pathlib import Path

import numpy as np
import pytest

from persyn.errors import ModelError
from persyn.router.artifact import DESCRIPTION, WEIGHTS, is_whole, read, write

TENSORS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.bias": np.ones(2, dtype=np.float32)}


def test_weights_and_description_come_back_as_they_were(tmp_path: Path) -> None:
    sha256 = write(tmp_path / "router", TENSORS, {"teachers": ["a", "b"], "alpha": 0.4})
    artifact = read(tmp_path / "router", sha256)
    assert artifact.description["teachers"] == ["a", "b"]
    assert artifact.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(artifact.tensors[name], tensor)
    assert sorted(path.name for path in (tmp_path / "router").iterdir()) == [DESCRIPTION, WEIGHTS]


def test_the_same_router_has_the_same_hash_and_another_has_another(tmp_path: Path) -> None:
    first = write(tmp_path / "a", TENSORS, {"alpha": 0.4})
    assert write(tmp_path / "b", TENSORS, {"alpha": 0.4}) == first
    assert write(tmp_path / "b", {**TENSORS, "head.bias": np.zeros(2, dtype=np.float32)}, {"alpha": 0.4}) != first
    assert write(tmp_path / "b", TENSORS, {"alpha": 0.5}) != first


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_a_file_that_was_changed_is_refused_by_name(name: str, tmp_path: Path) -> None:
    sha256 = write(tmp_path, TENSORS, {"alpha": 0.4})
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + b" ")
    with pytest.raises(ModelError, match=name):
        read(tmp_path, sha256)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_a_file_that_is_missing_is_an_error_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    sha256 = write(tmp_path, TENSORS, {"alpha": 0.4})
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="router train RUN --again"):
        read(tmp_path, sha256)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_it_is_whole_as_long_as_each_byte_is_the_one_that_was_written(name: str, tmp_path: Path) -> None:
    sha256 = write(tmp_path, TENSORS, {"alpha": 0.4})
    right = (tmp_path / name).read_bytes()
    assert is_whole(tmp_path, sha256)
    assert not is_whole(tmp_path, "0" * 64)
    for wrong in (b"", right[:-1], right[:-1] + b" "):
        (tmp_path / name).write_bytes(wrong)
        assert not is_whole(tmp_path, sha256)
    (tmp_path / name).unlink()
    assert not is_whole(tmp_path, sha256)


def test_the_description_is_for_people_too(tmp_path: Path) -> None:
    write(tmp_path, TENSORS, {"alpha": 0.4})
    assert json.loads((tmp_path / DESCRIPTION).read_text())["alpha"] == 0.4
