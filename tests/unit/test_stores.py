"""A store by URL: what goes in comes out, what cannot be done is one sentence, and no account is ever shown."""

from pathlib import Path

import pytest

from persyn import secrets
from persyn.errors import ConfigError, LeaseLost, MissingExtra
from persyn.stores import Store

PASSWORD = "sesame-open-7f3a"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 70_000)  # two blocks and a bit
    return source


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_what_goes_in_comes_out_until_it_is_removed(tmp_path: Path, source: Path, scheme: str) -> None:
    store = Store(f"{scheme}://{tmp_path}")
    store.try_out()
    blocks = 0

    def count() -> None:
        nonlocal blocks
        blocks += 1

    store.write("one/two/file", source, count)
    assert blocks == 3
    assert b"".join(store.read("one/two/file")) == source.read_bytes()
    assert (store.folders("one"), store.folders("none")) == (["two"], [])
    store.remove("one/two")
    assert store.folders("one") == []
    with pytest.raises(ConfigError, match=r"cannot give one/two/file: .*\. Let this host read there"):
        list(store.read("one/two/file"))


def test_trying_it_out_leaves_nothing_behind(tmp_path: Path) -> None:
    Store(f"file://{tmp_path}").try_out()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_mounted_here_is_not_made(tmp_path: Path, source: Path) -> None:
    store = Store(f"file://{tmp_path}/shared")
    for attempt in (store.try_out, lambda: store.write("a", source)):
        with pytest.raises(ConfigError) as told:
            attempt()
        assert str(told.value) == (
            f"PERSYN_ARTIFACTS_URL (file://{tmp_path}/shared) cannot be written: there is no such folder. Let this host"
            " write there, or name another store on every host."
        )
    assert not (tmp_path / "shared").exists()


def test_a_store_that_gives_back_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", lambda *_, **__: b"other")
    with pytest.raises(ConfigError, match="gives back other bytes than it was given"):
        Store(f"file://{tmp_path}").try_out()


@pytest.mark.parametrize("url", ["/mnt/shared", "shared", "http//host/x", "s3://[bucket/x"])
def test_what_is_no_url_is_told_with_two_that_are(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a URL, such as s3://bucket/folder or file:///mnt/shared"):
        Store(url)


def test_a_scheme_without_its_package_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"PERSYN_ARTIFACTS_URL \(gs://x/y\): .*gcsfs.*, with pip"):
        Store("gs://x/y").try_out()
    with pytest.raises(ConfigError, match="Protocol not known: nope"):
        Store("nope://x/y").try_out()


def test_a_lease_that_is_lost_on_the_way_is_no_fault_of_the_store(tmp_path: Path, source: Path) -> None:
    def lost() -> None:
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        Store(f"file://{tmp_path}").write("a", source, lost)


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://me:{PASSWORD}@127.0.0.1:1/x",
        f"ftp://me:{PASSWORD.replace('-', '%2D')}@127.0.0.1:1/x",
        f"nope://host/x?signature={PASSWORD}&region=here",
        f"nope://host/x?api_key={PASSWORD}",
    ],
)
def test_an_account_is_never_shown(url: str) -> None:
    with pytest.raises((ConfigError, MissingExtra)) as told:
        Store(url).try_out()
    assert PASSWORD not in str(told.value)
    assert secrets.mask(f"it says {PASSWORD}, {url}").count(secrets.MASK) == 2
