"""A trained router reaches every host: each of these tests trains in one home and routes in another, empty one."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from persyn import removal, secrets
from persyn.errors import ConfigError, ModelError
from persyn.jobs import wake_ups
from persyn.reporting import router as evaluation
from persyn.router import artifact
from persyn.stages import artifacts, train
from persyn.stores import VARIABLE
from persyn.workers.router import drain_router
from persyn.workers.worker import Worker

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

FILES = (artifact.WEIGHTS, artifact.DESCRIPTION)
Build = Callable[..., "SmallRun"]
SPEAKING = """
UPDATE prompt SET messages = jsonb_build_array(jsonb_build_object('role', 'user', 'content', md5(id::text)))
"""
DIFFERING = "UPDATE score s SET value = CASE WHEN g.teacher_id % 2 = g.prompt_id % 2 THEN 0.9 ELSE 0.1 END"
DIFFERING += " FROM generation g WHERE g.id = s.generation_id"


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Of the host that trains, of the one that routes, and of the one at which somebody sits."""
    homes = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    for home in homes:
        home.mkdir()
    return homes


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which every router goes, because nothing is small enough for the database."""
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, f"file://{folder}")
    monkeypatch.setattr(artifacts, "IN_DATABASE_AT_MOST", 0)
    return folder


@pytest.fixture
def scored(build_run: Build, tiny_model: str) -> Build:
    """`scored(freeze_backbone=False)` makes a run whose next job trains its router."""

    def make(**router: Any) -> "SmallRun":
        settings = {"backbone": tiny_model, "epochs": 1, "max_length": 64} | router
        run = build_run(prompts=10, policy="persyn", calibration={"size": 8, "validation": 0.25}, router=settings)
        execute(run, SPEAKING)
        run.advance()
        run.answer("a")
        run.answer("b")
        run.advance()
        run.score()
        execute(run, DIFFERING)
        run.advance()
        return run

    return make


@pytest.fixture
def trained(scored: Build, homes: tuple[Path, Path, Path]) -> "SmallRun":
    """A run whose router was trained in the first home and is in the database."""
    run = scored()
    work_in(run, homes[0])
    return run


def execute(run: "SmallRun", statement: str, **values: Any) -> None:
    with run.engine.begin() as conn:
        conn.execute(text(statement), values)


def work_in(run: "SmallRun", home: Path) -> Worker:
    """What a worker of the router queue does in this home with the run's next job."""
    run.advance()
    worker = Worker(run.engine, home)
    drain_router(worker)
    return worker


def stored(run: "SmallRun") -> train.StoredRouter:
    with run.engine.connect() as conn:
        found = train.find(conn, run.id)
    assert found is not None
    return found


def routed(run: "SmallRun") -> int:
    [(count,)] = run.rows("SELECT count(*) FROM routing_decision WHERE basis = 'router'")
    return int(count)


def evaluated(run: "SmallRun", home: Path) -> dict[str, Any]:
    return evaluation.evaluate(run.engine, "small", home, with_curve=False, on_progress=lambda *_: None)


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_small_router_reaches_another_host_by_the_database_alone(
    trained: "SmallRun", homes: tuple[Path, Path, Path]
) -> None:
    found = stored(trained)
    here = evaluated(trained, homes[0])
    whole = {f"routers/{found.artifact_sha256}/{name}" for name in FILES}
    assert (found.artifact_place, files(homes[0])) == ("database", whole)
    shutil.rmtree(homes[0])
    work_in(trained, homes[1])
    assert (routed(trained), files(homes[1])) == (2, whole)
    assert evaluated(trained, homes[2]) == here
    assert files(homes[2]) == whole
    assert trained.violations() == {}


def test_a_trained_backbone_reaches_another_host_by_the_store(
    scored: Build, homes: tuple[Path, Path, Path], store: Path
) -> None:
    run = scored(freeze_backbone=False)
    work_in(run, homes[0])
    found = stored(run)
    here = evaluated(run, homes[0])
    assert (found.artifact_place, Path(found.artifact_path).is_absolute()) == ("store", False)
    assert files(store) == {f"{found.artifact_path}/{name}" for name in FILES}
    assert run.rows("SELECT count(*) FROM artifact_chunk") == [(0,)]
    shutil.rmtree(homes[0])
    work_in(run, homes[1])
    assert routed(run) == 2
    assert evaluated(run, homes[2]) == here
    assert run.violations() == {}


def test_a_router_of_several_parts_is_put_together_again(
    scored: Build, homes: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 1000)
    run = scored()
    work_in(run, homes[0])
    [(parts, last)] = run.rows(
        "SELECT count(*), max(part) FROM artifact_chunk WHERE file = 'weights.safetensors' GROUP BY sha256"
    )
    assert parts == last + 1 > 2
    work_in(run, homes[1])
    assert routed(run) == 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["database", "store"])
def test_a_spoilt_cache_is_fetched_anew(
    scored: Build, homes: tuple[Path, Path, Path], request: pytest.FixtureRequest, place: str,
    name: str,
) -> None:  # fmt: skip
    if place == "store":
        request.getfixturevalue("store")
    run = scored()
    work_in(run, homes[0])
    found = stored(run)
    assert found.artifact_place == place
    spoilt = artifacts.cache(artifacts.ROUTER, homes[0], found.artifact_sha256) / name
    right = spoilt.read_bytes()
    for wrong in (b"", right[:-1], right[:-1] + bytes([right[-1] ^ 1])):
        spoilt.write_bytes(wrong)
        train.folder(run.engine, found, homes[0])
        assert spoilt.read_bytes() == right
    spoilt.unlink()
    work_in(run, homes[0])
    assert routed(run) == 2


def test_hosts_that_fetch_into_one_folder_at_once_all_get_it_whole(
    trained: "SmallRun", homes: tuple[Path, Path, Path]
) -> None:
    found, whole = stored(trained), []

    def fetch() -> None:
        for _ in range(20):
            folder = train.folder(trained.engine, found, homes[1])
            whole.append(artifacts.artifact.is_whole(folder, found.artifact_sha256))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(30):  # meanwhile somebody spoils it
        spoilt = artifacts.cache(artifacts.ROUTER, homes[1], found.artifact_sha256) / FILES[number % 2]
        if spoilt.exists():
            spoilt.unlink()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert len(whole) == 80
    assert artifacts.artifact.is_whole(train.folder(trained.engine, found, homes[1]), found.artifact_sha256)
    assert len(files(homes[1])) == 2, "nothing unfinished is left"


def test_files_in_the_database_that_are_not_those_that_were_stored_are_told(
    trained: "SmallRun", homes: tuple[Path, Path, Path]
) -> None:
    execute(trained, "UPDATE artifact_chunk SET content = '\\x00' WHERE file = 'weights.safetensors'")
    with pytest.raises(ModelError, match=r"is not the file that was recorded \(sha256\)\. `persyn router train"):
        evaluated(trained, homes[1])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", f"and the environment variable {VARIABLE} is not set on this host. Set it as on the host that trained"),
        ("file:///no/such/folder", "(file:///no/such/folder) cannot give"),
    ],
)
def test_a_host_that_cannot_read_the_store_is_unfit_for_the_run_and_others_go_on(
    scored: Build, homes: tuple[Path, Path, Path], store: Path,
    monkeypatch: pytest.MonkeyPatch, url: str, why: str,
) -> None:  # fmt: skip
    run = scored()
    work_in(run, homes[0])
    with monkeypatch.context() as there:
        there.setenv(VARIABLE, url)
        unfit = work_in(run, homes[1])
        [lack] = unfit.fitness.report(time.monotonic())
        assert (lack.queue, why in lack.reason) == (wake_ups.ROUTER, True), lack.reason
        assert VARIABLE in lack.reason
        with pytest.raises(ConfigError, match=VARIABLE):
            evaluated(run, homes[1])
    assert run.rows("SELECT state, attempt FROM job WHERE kind = 'route'") == [("ready", 0)]
    assert unfit.take_queue() is None
    work_in(run, homes[2])
    assert routed(run) == 2
    assert run.violations() == {}


def test_a_store_that_cannot_be_written_is_told_before_the_training(
    scored: Build, homes: tuple[Path, Path, Path], store: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, "ftp://me:sesame-open-7f3a@127.0.0.1:1/x")
    run = scored()
    unfit = work_in(run, homes[0])
    [lack] = unfit.fitness.report(time.monotonic())
    assert lack.reason.startswith(f"{VARIABLE} (ftp://***@127.0.0.1:1/x) cannot be written: ")
    assert files(homes[0]) == set()
    assert "sesame" not in caplog.text
    assert run.rows("SELECT state, attempt FROM job WHERE kind = 'train_router'") == [("ready", 0)]
    assert secrets.mask("sesame-open-7f3a") == secrets.MASK


def test_a_large_router_without_a_store_stays_where_it_was_trained_and_other_hosts_say_what_is_missing(
    scored: Build, homes: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(artifacts, "IN_DATABASE_AT_MOST", 0)
    run = scored(freeze_backbone=False)
    work_in(run, homes[0])
    found = stored(run)
    assert (found.artifact_place, Path(found.artifact_path).is_relative_to(homes[0])) == ("host", True)
    execute(run, "UPDATE lease SET host = 'gpu7'")
    away = homes[0].with_name("away")
    homes[0].rename(away)  # as another host sees it
    unfit = work_in(run, homes[1])
    [lack] = unfit.fitness.report(time.monotonic())
    assert lack.reason == (
        f"The router's files are in {found.artifact_path} on the host gpu7, and cannot be read here (No such file or"
        f" directory). Set {VARIABLE} on every host to a folder that all of them reach, such as s3://bucket/folder, and"
        " train it again: `persyn router train RUN --again`."
    )
    away.rename(homes[0])
    work_in(run, homes[0])
    assert routed(run) == 2


def test_a_router_of_an_earlier_version_is_read_from_its_folder(
    trained: "SmallRun", homes: tuple[Path, Path, Path]
) -> None:
    old = homes[1] / "routers" / "run-1-lease-1"
    old.parent.mkdir()
    artifacts.cache(artifacts.ROUTER, homes[0], stored(trained).artifact_sha256).rename(old)
    execute(trained, "DELETE FROM artifact_chunk")
    execute(trained, "UPDATE router SET artifact_place = DEFAULT, artifact_path = :path", path=str(old))
    assert stored(trained).artifact_place == "host"
    work_in(trained, homes[0])
    assert routed(trained) == 2


def test_training_anew_takes_the_files_of_the_router_before_away(
    trained: "SmallRun", homes: tuple[Path, Path, Path]
) -> None:
    before = stored(trained).artifact_sha256
    execute(trained, "UPDATE score s SET value = g.teacher_id FROM generation g WHERE g.id = s.generation_id")
    with trained.engine.begin() as conn:
        train.again(conn, trained.id)
    work_in(trained, homes[0])
    after = stored(trained).artifact_sha256
    assert after != before
    assert trained.rows("SELECT DISTINCT sha256 FROM artifact_chunk") == [(after,)]
    work_in(trained, homes[1])
    assert routed(trained) == 2


def test_a_deleted_run_takes_its_routers_files_along(trained: "SmallRun") -> None:
    [(size,)] = trained.rows("SELECT sum(octet_length(content)) FROM artifact_chunk")
    execute(trained, "INSERT INTO artifact_chunk VALUES (repeat('0', 64), 'router.json', 0, 'x')")  # nobody names it
    assert removal.prune(trained.engine, 1e9)["artifact_chunk"] == 1
    with trained.engine.begin() as conn:
        assert removal.size_of_run(conn, trained.id)["kB of router files"] == size // 1000 > 0
        assert removal.sizes(conn)["artifact_chunk"] > 0
        assert removal.delete_run(conn, trained.id) == []
    assert trained.rows("SELECT count(*) FROM artifact_chunk") == [(0,)]


def test_files_that_another_run_names_too_stay(trained: "SmallRun") -> None:
    other = trained.create(trained.config.model_copy(update={"name": "other"}))
    execute(
        trained,
        """
        INSERT INTO router (run_id, backbone, teacher_ids, alpha, normalisation, seed, artifact_place, artifact_path,
                            artifact_sha256, metrics, code_version, job_id, lease_id)
        SELECT :other, backbone, teacher_ids, alpha, normalisation, seed, artifact_place, artifact_path,
               artifact_sha256, metrics, code_version, job_id, lease_id FROM router
        """,
        other=other,
    )
    before = trained.rows("SELECT count(*) FROM artifact_chunk")
    execute(trained, "DELETE FROM router WHERE run_id <> :other", other=other)
    assert removal.prune(trained.engine, 1e9)["artifact_chunk"] == 0
    assert trained.rows("SELECT count(*) FROM artifact_chunk") == before != [(0,)]


def test_pruning_takes_from_the_store_what_no_router_names_and_no_training_may_still_name(
    scored: Build, homes: tuple[Path, Path, Path], store: Path
) -> None:
    run = scored()
    work_in(run, homes[0])
    named = Path(stored(run).artifact_path)
    with run.engine.begin() as conn:
        lease_id, _ = run.claim(conn, wake_ups.ROUTER, 1)
    living, left, strange = (
        store / named.with_name(name) for name in (f"run-1-lease-{lease_id}", "run-1-lease-99", "x")
    )
    for folder in (living, left, strange, store / "another-deployment" / "run-1-lease-99"):
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(b"x")
    assert artifacts.prune_store(run.engine, 3600.0) == 1
    assert [folder.exists() for folder in (store / named, living, left, strange)] == [True, True, False, True]
    assert (store / "another-deployment" / "run-1-lease-99").exists()
    with run.engine.begin() as conn:
        conn.execute(text("DELETE FROM job WHERE state = 'leased'"))
        conn.execute(text("UPDATE lease SET revoked_at = clock_timestamp() - interval '2 hours', reason = 'expired'"))
        [told] = removal.delete_run(conn, run.id)
    assert told == f"{named} in {VARIABLE}"
    assert artifacts.prune_store(run.engine, 3 * 3600.0) == 0
    assert artifacts.prune_store(run.engine, 3600.0) == 2
    assert not (store / named).exists()
