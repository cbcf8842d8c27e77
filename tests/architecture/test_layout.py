"""A module's tests stand where it stands: those of `persyn/x/y.py` are `x/test_y*.py` under unit or integration."""

from pathlib import PurePosixPath

from tests.architecture.repository import CODE, ROOT

# The tests of a whole, which is no module.
OF_NO_MODULE = {
    "tests/unit/test_compose.py": "the two compose files",
    "tests/unit/benchmarks/test_consensus.py": "a benchmark, which is no part of the package",
    "tests/unit/benchmarks/test_rerouting.py": "a benchmark, which is no part of the package",
    "tests/unit/test_deploy.py": "the files under deploy/",
    "tests/integration/db/test_upgrade.py": "a database of the version before, carried over by `persyn db upgrade`",
    "tests/integration/exports/test_consumers.py": "the libraries that read an export",
    "tests/integration/db/test_backup.py": "what docs/deploying.md promises of a dump",
    "tests/integration/db/test_constraints.py": "what the tables themselves refuse",
    "tests/integration/inference/servers/test_conformance.py": "what holds of every kind of server",
    "tests/unit/workers/test_threads.py": "how many threads torch takes in a worker",
    "tests/unit/workers/test_main.py": "workers/__main__.py: `persyn worker --gpus`",
    "tests/integration/test_packaging.py": "the wheel, among folders of a user's that are called as ours",
}

# Modules that are tested by what cannot do its work without them, and the test file that does it.
TESTED_THROUGH = {
    "persyn/cli/context.py": "integration/cli/test_fleet.py",
    "persyn/cli/db.py": "integration/db/test_auditor.py",
    "persyn/cli/generations.py": "integration/imports/test_answers.py",
    "persyn/cli/imports.py": "integration/cli/test_prompts.py",
    "persyn/cli/jobs.py": "integration/cli/test_fleet.py",
    "persyn/cli/options.py": "integration/cli/test_audit.py",
    "persyn/cli/prompts_delete.py": "integration/cli/test_runs.py",
    "persyn/cli/quickstart.py": "acceptance/test_quickstart.py",
    "persyn/cli/status.py": "integration/cli/test_run.py",
    "persyn/counters.py": "integration/reporting/test_gauges.py",
    "persyn/db/models/base.py": "integration/db/test_constraints.py",
    "persyn/db/models/queue.py": "integration/db/test_constraints.py",
    "persyn/db/models/results.py": "integration/db/test_constraints.py",
    "persyn/db/models/runs.py": "integration/db/test_constraints.py",
    "persyn/db/tables.py": "integration/db/test_migrate.py",
    "persyn/db/models/students.py": "integration/db/test_constraints.py",
    "persyn/db/types.py": "integration/db/test_migrate.py",
    "persyn/driving/exporting.py": "integration/cli/test_export.py",
    "persyn/driving/opening.py": "integration/cli/test_fleet.py",
    "persyn/driving/students.py": "integration/workers/test_train.py",
    "persyn/errors.py": "integration/cli/test_fleet.py",
    "persyn/exports/rows.py": "integration/exports/test_write.py",
    "persyn/inference/bundled.py": "integration/inference/test_models.py",
    "persyn/inference/loading.py": "unit/rewards/quality/test_reward_model.py",
    "persyn/inference/random_model.py": "integration/inference/servers/test_conformance.py",
    "persyn/inference/clients/pace.py": "integration/workers/test_generate_endpoints.py",
    "persyn/inference/servers/spec.py": "unit/inference/servers/test_kinds.py",
    "persyn/jobs/backlog.py": "integration/workers/test_generate_endpoints.py",
    "persyn/jobs/cursor.py": "integration/jobs/test_protocol_cursor.py",
    "persyn/reporting/neighbours.py": "integration/cli/test_audit.py",
    "persyn/reporting/prompts.py": "integration/cli/test_audit.py",
    "persyn/reporting/rewards.py": "unit/cli/test_rewards.py",
    "persyn/cli/compare.py": "integration/reporting/test_comparison.py",
    "persyn/exports/leaks.py": "integration/driving/test_examining.py",
    "persyn/reporting/examinations.py": "integration/driving/test_examining.py",
    "persyn/stages/model_paths.py": "integration/driving/test_examining.py",
    "persyn/reporting/students.py": "integration/workers/test_train.py",
    "persyn/reporting/router.py": "integration/cli/test_router.py",
    "persyn/rewards/quality/checker.py": "unit/rewards/quality/test_math_verify.py",
    "persyn/rewards/measurement.py": "unit/rewards/quality/test_math_verify.py",
    "persyn/rewards/learnability/student.py": "unit/rewards/learnability/test_scorer.py",
    "persyn/rewards/matrix.py": "integration/workers/test_router.py",
    "persyn/router/baselines.py": "unit/router/test_evaluation.py",
    "persyn/stages/calibrate.py": "integration/stages/test_pipeline.py",
    "persyn/stages/coefficients.py": "integration/workers/test_router_ranges.py",
    "persyn/stages/generate.py": "integration/stages/test_pipeline.py",
    "persyn/stages/route.py": "integration/workers/test_router.py",
    "persyn/stages/run_router.py": "integration/workers/test_router_ranges.py",
    "persyn/stages/score.py": "integration/workers/test_score.py",
    "persyn/stages/train.py": "integration/workers/test_router.py",
    "persyn/stages/train_student.py": "integration/workers/test_train.py",
    "persyn/stages/work.py": "integration/workers/test_router.py",
    "persyn/students/trained.py": "unit/students/test_train.py",
    "persyn/versions.py": "integration/test_runs.py",
    "workers/singly.py": "integration/workers/test_router.py",
    "workers/model_server.py": "integration/workers/test_generate.py",
}

# Modules that are about to go, and tests of modules that are about to come. They may only shrink.
GOING: set[str] = set()
COMING: set[str] = set()


def room(module: PurePosixPath) -> PurePosixPath:
    """The folder that a module's tests lie in, below tests/unit and tests/integration."""
    inside = module.relative_to("persyn") if module.parts[0] == "persyn" else module
    return inside.parent


def is_test_of(test: PurePosixPath, module: PurePosixPath) -> bool:
    """Whether a file, named from tests/unit or tests/integration on, tests a module: by its name or by its room's."""
    name = test.stem.removeprefix("test_")
    own = test.parent == room(module) and (name == module.stem or name.startswith(f"{module.stem}_"))
    whole = bool(room(module).name) and name == room(module).name and test.parent in (room(module), room(module).parent)
    return own or whole


def from_root(*folders: str, pattern: str) -> list[PurePosixPath]:
    found = (path for folder in folders for path in (ROOT / folder).rglob(pattern))
    return [PurePosixPath(path.relative_to(ROOT).as_posix()) for path in found]


MODULES = [path for path in from_root(*CODE, pattern="*.py") if path.name not in ("__init__.py", "__main__.py")]
TESTS = from_root("tests/unit", "tests/integration", pattern="test_*.py")
PAIRS = [(test, module) for test in TESTS for module in MODULES if is_test_of(PurePosixPath(*test.parts[2:]), module)]


def test_every_test_file_is_named_after_a_module_of_its_room() -> None:
    stray = {str(test) for test in TESTS} - {str(test) for test, _ in PAIRS}
    assert stray - OF_NO_MODULE.keys() - COMING == set()
    assert OF_NO_MODULE.keys() - stray == set(), "these are no exceptions any more: take them out"


def test_every_module_has_a_test_file_of_its_name() -> None:
    untested = {str(module) for module in MODULES} - {str(module) for _, module in PAIRS}
    assert untested - TESTED_THROUGH.keys() - GOING == set()
    assert TESTED_THROUGH.keys() - untested == set(), "these are no exceptions any more: take them out"


def test_what_tests_an_exception_exists() -> None:
    assert [test for test in TESTED_THROUGH.values() if not (ROOT / "tests" / test).is_file()] == []
