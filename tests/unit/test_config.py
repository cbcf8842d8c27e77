"""A run's YAML: what is refused and in which words, and what its hash depends on."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from persyn.config import Flaw, Router, Settings, fingerprint, load_run, parse_run
from persyn.errors import ConfigError

SMALL: dict[str, Any] = {
    "name": "demo",
    "prompts": "gsm8k",
    "student": {"name": "pupil", "model": "bundled:smollm2"},
    "teachers": [
        {"name": "terse", "family": "smollm", "params_b": 0.135, "model": "bundled:smollm2"},
        {"name": "wordy", "family": "smollm", "params_b": 0.135, "model": "bundled:smollm2", "system_prompt": "Think."},
    ],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small run with one key, named by its dotted path, set to a value."""
    raw = deepcopy(SMALL)
    *parents, last = path.split(".")
    here: Any = raw
    for part in parents:
        here = here[int(part)] if part.isdigit() else here.setdefault(part, {})
    here[last] = value
    return raw


def test_the_smallest_run_takes_the_papers_values() -> None:
    run = parse_run(SMALL, source="run.yaml")
    assert (run.alpha, run.calibration.size, run.policy) == (0.4, 2500, "persyn")
    assert run.teachers[1].system_prompt == "Think."


@pytest.mark.parametrize(
    ("changes", "measures"),
    [
        ({}, ["loglik"]),
        ({"alpha": 0.0}, []),
        ({"alpha": 0.0, "scorers": {"learnability": "none"}}, []),
        ({"alpha": 0.0, "scorers": {"learnability": {"kind": "ifd"}}}, ["ifd"]),  # asked for by name
        ({"alpha": 0.0, "policy": "car"}, ["loglik"]),
    ],
)
def test_a_run_measures_learnability_where_it_needs_it(changes: dict[str, Any], measures: list[str]) -> None:
    assert [measure.kind for measure in parse_run({**SMALL, **changes}, source="run.yaml").measures()] == measures


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("alpha", 1.5, "alpha: got 1.5; input should be less than or equal to 1."),
        ("scorers.learnability", "none", "scorers.learnability: alpha is 0.4, so it must be measured."),
        ("scorers.quality", "none", "scorers.quality"),
        ("export", {"layout": "preference", "order": "easy_first"}, "export.order: a row of the layout preference"),
        (
            "scorers.learnability",
            {"kind": "local_naturalness", "window": -1},
            "scorers.learnability.window: got -1; input should be greater than or equal to 0.",
        ),
        ("alpha", "much", "alpha: got 'much'; input should be a valid number"),
        ("alpha", math.nan, "alpha: got nan; input should be"),
        ("seed", -1, "seed: got -1; input should be greater than or equal to 0."),
        ("name", "my run", "name: got 'my run'; a name has 1 to 63 letters, digits and . _ - and begins with"),
        ("name", 7, "name: got 7; input should be a valid string."),
        ("policy", "best", "policy: got 'best'; choose one of persyn, strong, family_strong, mix, car,"),
        ("teachers.1.params_b", 0, "teachers[1].params_b: got 0; input should be greater than 0."),
        ("teachers.1.params_b", math.inf, "teachers[1].params_b: got inf; input should be a finite number."),
        ("router.learning_rate", math.inf, "router.learning_rate: got inf; input should be a finite number."),
        ("teachers.0.sampling", {"temperature": 3}, "teachers[0].sampling.temperature: got 3; input should be less"),
        (
            "teachers.0.endpoint",
            {"url": "gpu-1:8000"},
            "teachers[0].endpoint.url: the address has no http:// or https:// before it.",
        ),
        ("teachers.0.modell", "x", "teachers[0].modell: unknown key; did you mean model?"),
        ("beta", 1, "beta: unknown key here. It belongs to policy_options."),
        ("student", {"name": "pupil"}, "student.model: missing. Add this key."),
        ("student", "pupil", "student: got 'pupil'; expected a section of keys, such as name, model,"),
        ("teachers", SMALL["teachers"][:1], "teachers: got a list of 1; at least 2 must be given."),
        ("teachers", [SMALL["teachers"][0]] * 2, "teacher names must differ; given twice: terse."),
        (
            "teachers.0.examples",
            [{"role": "user", "content": "1+1?"}],
            "teachers[0]: examples must alternate user and assistant, and end with assistant.",
        ),
        (
            "policy_options.budget",
            {"terse": {"share": 0.3}},
            "policy_options.budget: the policy persyn does not read it. Remove it, or set policy: budgeted.",
        ),
        (
            "policy_options.budget",
            {"terse": {}},
            "policy_options.budget.terse: give a share, tokens or a cost.",
        ),
        (
            "policy_options.budget",
            {"terse": {"cost": 3}},
            "policy_options.budget.terse: cost and price (per million completion tokens) go together; give both",
        ),
        (
            "policy_options.budget",
            {"terse": {"share": 30}},
            "policy_options.budget.terse.share: got 30; input should be less than or equal to 1.",
        ),
        ("policy_options.beta", -1, "policy_options.beta: got -1; input should be greater than or equal to 0."),
        ("policy", "budgeted", "policy_options.budget: the policy budgeted needs a limit for at least one teacher."),
        ("policy", "family_strong", "student.family: the policy family_strong needs a teacher of the student's own"),
        ("export.formats", [], "export.formats: got a list of 0; at least 1 must be given."),
        (
            "export.keep",
            "wrnog",
            "export.keep[0]: got 'wrnog'; did you mean wrong? Otherwise choose one of wrong, below_bar",
        ),
        ("export.columns", ["quality", 3], "export.columns[1]: got 3; input should be 'quality'"),
        ("export.layout", "alpaca", "export.layout: got 'alpaca'; choose one of prompt_completion"),
        ("export.layout", "verl", "export.formats: verl reads Parquet; name parquet"),
        ("calibration.validation", 1.0, "calibration.validation: got 1.0; input should be less than 1."),
    ],
)
def test_a_mistake_names_the_key_the_value_and_what_was_expected(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_run(changed(path, value), source="run.yaml")
    assert str(refused.value).startswith(f"run.yaml: {message}")
    assert "\n" not in str(refused.value)


def test_the_papers_preset_does_not_hide_a_mistake_in_the_preferences() -> None:
    with pytest.raises(ConfigError, match=r"^run\.yaml: preferences: got 'x'; expected a section of keys"):
        parse_run(SMALL | {"router": {"preset": "paper"}, "preferences": "x"}, source="run.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^run\.yaml: prompts: missing\. Add this key\.$"):
        parse_run({key: value for key, value in SMALL.items() if key != "prompts"}, source="run.yaml")


def test_every_mistake_is_told_on_a_line_of_its_own() -> None:
    raw = changed("alpha", 2) | {"beta": 1}
    with pytest.raises(ConfigError) as refused:
        parse_run(raw, source="run.yaml")
    lines = str(refused.value).splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["alpha", "beta"]


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_run(changed("policy", "x" * 500), source="run.yaml")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(raw: Any) -> None:
    with pytest.raises(ConfigError, match=r"^run\.yaml: expected a mapping of keys"):
        parse_run(raw, source="run.yaml")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
), max_leaves=8))  # fmt: skip
def test_whatever_a_key_holds_the_answer_is_a_run_or_a_sentence(value: Any) -> None:
    for key in ("name", "teachers", "student", "router", "alpha", "unknown"):
        try:
            parse_run({**SMALL, key: value}, source="run.yaml")
        except ConfigError as exc:
            told = str(exc)
        else:
            continue
        assert told.startswith("run.yaml: ")


def test_a_file_is_read_as_its_content(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    assert load_run(path) == parse_run(SMALL, source="")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [1", "line 1, column 9: the bracket [ that opens in line 1, column 7 is never closed. Add ]"),
        (b"a: b: c", "line 1, column 5: quotes are missing: the value of a holds a colon. Put it in quotes"),
        (b"a: 1\nname: \xff", "line 2: a character is not UTF-8. Save the file as UTF-8."),
        (b"", "expected a mapping"),
        (b"alpha: 0.1\nalpha: 0.2", "line 2, column 1: key 'alpha' is given twice; the first stands in line 1."),
        (b"student: {model: a, model: b}", "line 1, column 21: key 'model' is given twice; the first stands in"),
    ],
)
def test_a_broken_file_is_told_with_its_path_on_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_run(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    with pytest.raises(ConfigError, match=f"^{path}: no such file. `persyn init {path}` writes one"):
        load_run(path)


def test_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run(tmp_path)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def test_the_hash_does_not_depend_on_the_order_of_keys_nor_on_written_defaults() -> None:
    run = parse_run(SMALL, source="")
    assert parse_run(_reversed(SMALL), source="").sha256() == run.sha256()
    assert parse_run(run.model_dump(mode="json"), source="").sha256() == run.sha256()
    assert parse_run(changed("alpha", 0.40), source="").sha256() == run.sha256()


@pytest.mark.parametrize(
    ("path", "value"),
    [("alpha", 0.5), ("seed", 1), ("teachers.1.system_prompt", "Think!"), ("teachers", SMALL["teachers"][::-1])],
)
def test_the_hash_depends_on_all_that_changes_results(path: str, value: Any) -> None:
    assert parse_run(changed(path, value), source="").sha256() != parse_run(SMALL, source="").sha256()


def test_a_fingerprint_is_the_sha256_of_canonical_json() -> None:
    # echo -n '{"a":[1,"é"],"b":null}' | sha256sum
    expected = "1e02bc81a26af2f027329541e97eef36f3290bedc6dfe043dbe66b057ecb13ba"
    assert fingerprint({"b": None, "a": [1, "é"]}) == expected


def test_a_run_cannot_be_changed() -> None:
    run = parse_run(SMALL, source="")
    with pytest.raises(ValueError, match="frozen"):
        run.alpha = 0.1


@pytest.mark.parametrize("empty", [None, ""])
def test_without_addresses_the_services_are_the_embedded_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PERSYN_HOME", "PERSYN_DATABASE_URL", "PERSYN_BROKER_URL"):
        monkeypatch.delenv(name, raising=False) if empty is None else monkeypatch.setenv(name, empty)
    assert Settings.from_environment() == Settings(tmp_path / ".persyn", None, None)


def test_the_environment_says_where_the_services_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERSYN_HOME", str(tmp_path))
    monkeypatch.setenv("PERSYN_DATABASE_URL", "postgresql://db")
    monkeypatch.setenv("PERSYN_BROKER_URL", "redis://broker")
    assert Settings.from_environment() == Settings(tmp_path, "postgresql://db", "redis://broker")


def with_policy(policy: str, **options: Any) -> dict[str, Any]:
    return SMALL | {"policy": policy, "policy_options": options}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            with_policy("budgeted", budget={"terse": {"share": 0.3}, "wordy": {"share": 0.6}}),
            "policy_options.budget: the shares of all teachers add up to 0.9, less than 1, so some prompts would",
        ),
        (
            with_policy("budgeted", budget={"loud": {"share": 0.3}}),
            "policy_options.budget: no teacher is called 'loud'; there are terse, wordy.",
        ),
        (with_policy("mix", weak="loud"), "policy_options.weak: no teacher is called 'loud'; there are terse, wordy."),
        (
            with_policy("strong", explore=0.02),
            "policy_options.explore: the policy strong does not read it. Remove it, or set policy: persyn",
        ),
        (with_policy("persyn", explore=2), "policy_options.explore: got 2; input should be less than or equal to 1."),
        (with_policy("mix", beta=1.0), "policy_options.beta: the policy mix does not read it. Remove it, or set"),
        (
            SMALL | {"policy": "family_strong", "student": SMALL["student"] | {"family": "qwen"}},
            "student.family: the policy family_strong needs a teacher of the student's own family;"
            " none is of 'qwen' (the teachers' families: smollm).",
        ),
    ],
)
def test_a_policy_without_what_it_needs_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_run(raw, source="run.yaml")
    assert str(refused.value).startswith(f"run.yaml: {message}")
    assert "\n" not in str(refused.value)


def test_rows_are_ordered_by_a_measure_that_the_run_has() -> None:
    export, ifd = {"order": "easy_first"}, {"kind": "ifd"}
    with pytest.raises(ConfigError, match=r"export\.order: .* no measure of this run is loglik\."):
        parse_run(SMALL | {"export": export, "scorers": {"learnability": ifd}}, source="run.yaml")
    uncounted = [ifd, {"kind": "loglik", "weight": 0.0}]
    run = parse_run(SMALL | {"export": export, "scorers": {"learnability": uncounted}}, source="run.yaml")
    assert run.export.order == "easy_first"


def test_car_refuses_a_measure_that_is_no_loss_where_it_counts() -> None:
    lark = {"kind": "lark"}
    with pytest.raises(ConfigError, match=r"scorers\.learnability: the policy car divides by the student's loss"):
        parse_run(SMALL | {"policy": "car", "scorers": {"learnability": lark}}, source="run.yaml")
    beside = [{"kind": "loglik"}, lark | {"weight": 0.0}]
    assert parse_run(SMALL | {"policy": "car", "scorers": {"learnability": beside}}, source="run.yaml").measures()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorers": {"score": "calibration"}}, "teachers[1].samples: the best of several answers is told by their"),
        ({"scorers": {"quality": {"kind": "imported"}}}, "an imported quality is none of a new answer"),
    ],
)
def test_several_answers_whose_best_nobody_could_tell_are_refused(changes: dict[str, Any], message: str) -> None:
    first, second = SMALL["teachers"]
    teachers = [first, second | {"samples": 4, "sampling": {"temperature": 0.7}}]
    with pytest.raises(ConfigError) as refused:
        parse_run(SMALL | {"teachers": teachers} | changes, source="run.yaml")
    assert message in str(refused.value)
    assert parse_run(SMALL | {"teachers": teachers}, source="run.yaml").asks_several_times
    by_learnability = {"alpha": 1.0, "scorers": {"quality": {"kind": "imported"}}}
    assert parse_run(SMALL | {"teachers": teachers} | by_learnability, source="run.yaml").asks_several_times


def test_a_teachers_family_is_the_students_whatever_its_case() -> None:
    run = parse_run(
        SMALL | {"policy": "family_strong", "student": SMALL["student"] | {"family": "SmolLM"}}, source="run.yaml"
    )
    assert run.own_family() == [0, 1]


def test_a_stored_configuration_is_read_back_the_same() -> None:
    run = parse_run(with_policy("budgeted", budget={"terse": {"share": 0.3}}), source="run.yaml")
    assert parse_run(run.model_dump(mode="json"), source="database") == run


def test_the_papers_preset_stands_where_nothing_else_is_given() -> None:
    paper = Router.model_validate({"preset": "paper", "pooling": "mean"})
    assert (paper.backbone, paper.pooling, paper.freeze_backbone, paper.head) == (
        "Qwen/Qwen2.5-1.5B", "mean", False, "plain",
    )  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("", None), ("1", 1), ("8", 8)])
def test_the_number_of_training_processes_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: int | None
) -> None:
    monkeypatch.delenv("PERSYN_TRAIN_PROCESSES", raising=False)
    if given is not None:
        monkeypatch.setenv("PERSYN_TRAIN_PROCESSES", given)
    assert Settings.from_environment().train_processes == expected


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("", None), ("s3://bucket/x", "s3://bucket/x")])
def test_the_store_of_large_routers_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str | None
) -> None:
    monkeypatch.delenv("PERSYN_ARTIFACTS_URL", raising=False)
    if given is not None:
        monkeypatch.setenv("PERSYN_ARTIFACTS_URL", given)
    assert Settings.from_environment().artifacts_url == expected


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", "²", "99999"])
def test_a_number_of_training_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("PERSYN_TRAIN_PROCESSES", given)
    with pytest.raises(ConfigError, match=r"PERSYN_TRAIN_PROCESSES is .*: expected a whole number from 1"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("wrong, cut", ["wrong", "cut"]), (["cut", "cut"], ["cut"]), ([], []), ("", []), ("all", get_args(Flaw))],
)
def test_a_list_of_the_export_may_be_one_text(given: Any, kept: Any) -> None:
    assert parse_run(changed("export.keep", given), source="run.yaml").export.keep == list(kept)
