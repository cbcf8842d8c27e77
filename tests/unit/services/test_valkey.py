from pathlib import Path

import pytest

from persyn.services import valkey


def test_the_address_is_spelt_as_celery_wants_it() -> None:
    assert valkey.url(Path("/srv/persyn/.persyn")) == "redis+socket:///srv/persyn/.persyn/valkey/valkey.sock"


@pytest.mark.parametrize("text", [None, "", "not a number", "-1", "99999999"])
def test_a_damaged_id_file_means_that_no_server_runs(tmp_path: Path, text: str | None) -> None:
    valkey.data_folder(tmp_path).mkdir()
    if text is not None:
        (valkey.data_folder(tmp_path) / "valkey.pid").write_text(text)
    assert valkey.pid(tmp_path) is None
    assert not valkey.running(tmp_path)
