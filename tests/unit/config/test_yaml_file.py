"""A run's file with a mistake: each gets a sentence with its place and what to type, and no secret stands in one."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persyn.config import load_run
from persyn.errors import ConfigError

RUN = """\
name: night
prompts: riddles
student: {name: pupil, model: "bundled:pupil-1b"}
teachers:
  - name: quick
    family: a
    model: quick-model
    endpoint: {url: "http://127.0.0.1:9001/v1", api_key_env: QUICK_KEY}
    sampling: {temperature: 0.0, max_tokens: 200}
  - name: slow
    family: b
    model: slow-model
    endpoint: {url: "http://127.0.0.1:9002/v1"}
calibration: {size: 60}
alpha: 0.4
"""
SECRET = "sk-a-made-up-key-0042"


def mistake(path: Path) -> ConfigError | None:
    try:
        load_run(path)
    except ConfigError as exc:
        return exc
    return None


def told(folder: Path, text: str | bytes) -> list[str]:
    """The lines that a file gets, without its path."""
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refused:
        load_run(path)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def swapped(old: str, new: str) -> str:
    assert old in RUN
    return RUN.replace(old, new, 1)


def test_the_run_itself_is_right(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    assert load_run(tmp_path / "run.yaml").name == "night"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    model: quick", "   model: quick", "line 7, column 4: the indentation does not fit. This line's key"),
        ("\nalpha", "\n  alpha", "line 15, column 3: the indentation does not fit. This line's key begins in column 3"),
        ("    family: a", "\tfamily: a", "line 6, column 1: a tab stands where YAML takes spaces alone."),
        ("quick-model", "bundled: quick", 'as in model: "bundled: quick".'),
        ('"bundled:pupil-1b"', "bundled: pupil", 'as in model: "bundled: pupil".'),
        ("name: night", "name:night", "line 2, column 8: a space is missing behind name: in line 1."),
        ("  - name: quick", "  -name: quick", "a space is missing behind - in line 5."),
        ("{size: 60}", "{size: 60", "the bracket { that opens in line 14, column 14 is not closed, or a comma"),
        ("alpha: 0.4", "alpha: [0.4", "the bracket [ that opens in line 15, column 8 is never closed. Add ]"),
        ("alpha: 0.4", 'alpha: "0.4', "line 15, column 8: the quotation mark that opens here is never closed."),
        ("0.0, max", "0.0 max", "line 9, column 43: a comma is missing before max_tokens."),
        ("quick-model", '"quick" model', "line 7, column 20: text stands behind a closing quotation mark"),
        ("quick-model", "@quick", "line 7, column 12: a value cannot begin with @ unless it stands in quotes."),
        ("quick-model", "*quick", "line 7, column 12: a value that begins with * or & means an anchor"),
        ("quick-model", "!quick x", "line 7, column 12: a value that begins with ! means a type"),
        ("quick-model", "{{ MODEL }}", "PerSyn fills in no templates."),
        ("quick-model", '"C:\\models"', "a backslash means something else inside double quotes."),
        ("quick-model", "|quick", "the text of a block begins below its | or >."),
        ("quick-model", "a\0b", "line 7, column 13: the character U+0000 cannot stand in YAML."),
        ("quick-model", "2026-13-45", "line 7, column 12: the value looks like a date and is none."),
        ("teachers:\n", "teachers: - a\n", "line 4, column 11: a list begins on a line of its own."),
        ("alpha: 0.4", "alpha: 0.4\n---\nname: b", "line 16, column 1: a second document begins here"),
        ("alpha: 0.4", "alpha = 0.4\n", "line 15 has no colon with a space behind it"),
        ("alpha: 0.4", "alpha: " + "[" * 1000, "brackets or sections are nested too deeply here."),
        ("alpha: 0.4", "alpha: " + "9" * 5000, "line 15, column 8: the number is larger than any that a key takes."),
        ("{size: 60}", "{size: 0x" + "f" * 5000 + "}", "line 14, column 21: the number is larger than any"),
        ("max_tokens: ", "extra_body: {a: " + "[" * 300 + "]" * 300 + "}, max_tokens: ", "nested too deeply."),
    ],
)  # fmt: skip
def test_broken_yaml_is_told_in_plain_words(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (line,) = told(tmp_path, swapped(old, new))
    assert expected in line
    assert "<" not in line, "the parser's own words"
    assert len(line) < 300


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("temperature", "temprature", "line 9, column 16: teachers[0].sampling.temprature: unknown key; did you mean"),
        ("max_tokens", "maxTokens", "unknown key; did you mean max_tokens?"),
        ("prompts:", "prompt:", "line 2, column 1: prompt: unknown key; did you mean prompts?"),
        ("    family: a", "    family: a\n    max_tokens: 9", "teachers[0].max_tokens: unknown key here. It belongs"),
        ("size: 60", "size:60", "calibration.size:60: unknown key. A space is missing behind the colon after size."),
        ("alpha: 0.4", "policy: persin", "line 15, column 9: policy: got 'persin'; did you mean persyn? Otherwise"),
        (
            "alpha: 0.4", "scorers: {quality: {kind: jugde}}",
            "line 15, column 27: scorers.quality.kind: got 'jugde'; did you mean judge? Otherwise choose one of",
        ),
        (
            "alpha: 0.4", "scorers: {quality: [{weight: 1}]}",
            "scorers.quality[0].kind: missing. Add this key: one of math_verify, consensus, reward_model,",
        ),
        (
            "alpha: 0.4", "scorers: {quality: {kind: judge, model: m, endpoint: {url: 'http://h'}, weight: -1}}",
            "scorers.quality.weight: got -1; input should be greater than or equal to 0.",
        ),
        ("alpha: 0.4", "alpha: 40%", "alpha: got '40%'; input should be a valid number, unable to parse string"),
        ("alpha: 0.4", "alpha: 40%", "Write 0.4."),
        ("quick-model", "7", "teachers[0].model: got 7; input should be a valid string. Put it in quotes."),
        ("quick-model", "yes", "got yes, which YAML reads as true or false; input should be a valid string. Put it in"),
        ("name: night", "name: my night", "name: got 'my night'; a name has 1 to 63 letters, digits and . _ -"),
        ("name: night", "name: my night", "Choose another, such as my-night."),
        ('"http://127.0.0.1:9001/v1"', "127.0.0.1:9001/v1", "teachers[0].endpoint.url: "),
        (
            "alpha: 0.4", "policy_options: {beta: 1}",
            "line 15, column 24: policy_options.beta: the policy persyn does not read it. Remove it, or set policy",
        ),
        (
            "alpha: 0.4", "scorers: {quality: {kind: math_verify, weight: 0}}",
            "line 15, column 20: scorers.quality: at least one scorer needs a weight above 0.",
        ),
        ("alpha: 0.4", "reroute: {atempts: 2}", "line 15, column 11: reroute.atempts: unknown key; did you mean"),
        ("alpha: 0.4", "reroute: {attempts: two}", "line 15, column 21: reroute.attempts: got 'two'; input should be"),
        ("alpha: 0.4", "reroute: {below_bar: remove}", "below_bar: got 'remove'; choose one of keep, drop, separate."),
        ("alpha: 0.4", "reroute: sometimes", "reroute: got 'sometimes'; expected a section of keys, such as attempts"),
        ("alpha: 0.4", "reroute: [2]", "reroute: got a list of 1; expected a section of keys, such as attempts"),
        ("alpha: 0.4", "re-route: off", "re-route: unknown key; did you mean reroute?"),
        ("size: 60", "size: 2,500", "calibration: got 500 in place of a key. Inside braces a comma ends an entry"),
        ("alpha: 0.4", "export: jsonl", "export: got 'jsonl'; expected a section of keys, such as formats"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_to_type(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (line,) = told(tmp_path, swapped(old, new))
    assert expected in line
    assert "^" not in line, "a regular expression"


def test_several_mistakes_are_several_lines_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = RUN.replace("alpha: 0.4", "alpha: 40%").replace("name: night", "name: my night").replace("size", "sizes")
    assert [line.split(",")[0] for line in told(tmp_path, text)] == ["line 1", "line 14", "line 15"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api_key_env: QUICK_KEY", f"api_key_env: {SECRET}"),
        ("api_key_env: QUICK_KEY", f"api_key: {SECRET}"),
        ("api_key_env: QUICK_KEY", f"api_key:{SECRET}"),
        ("api_key_env: QUICK_KEY", f"token: {SECRET}"),
        ("max_tokens: 200", f"extra_body: {{api_key: {SECRET}}}"),
        ("max_tokens: 200", f"extra_body: {{user: [{{id: {SECRET}}}]}}"),
    ],
)
def test_a_key_in_the_file_is_not_shown_and_its_place_is_named(tmp_path: Path, old: str, new: str) -> None:
    (line,) = told(tmp_path, swapped(old, new))
    assert SECRET not in line
    assert "api_key_env" in line
    assert "environment variable" in line


def test_a_key_in_a_header_of_any_name_is_not_shown_and_a_schema_that_speaks_of_one_passes(tmp_path: Path) -> None:
    (line,) = told(tmp_path, swapped("api_key_env: QUICK_KEY", f"headers: {{X-Team: {SECRET}}}"))
    assert SECRET not in line
    assert "write X-Team: ${EXAMPLE_KEY}" in line
    schema = "max_tokens: 200, extra_body: {guided_json: {properties: {password: {type: string}}}}"
    (tmp_path / "run.yaml").write_text(swapped("max_tokens: 200", schema))
    assert mistake(tmp_path / "run.yaml") is None


@pytest.mark.parametrize("form", [SECRET, f"'{SECRET}'", f"a: {SECRET}: b", f"[{SECRET}]", f"{{api_key: {SECRET}}}"])
def test_a_key_stands_in_no_message_wherever_it_was_pasted(tmp_path: Path, form: str) -> None:
    path = tmp_path / "run.yaml"
    for word in re.finditer(r"[\w./:-]+", RUN):
        path.write_text(RUN[: word.start()] + form + RUN[word.end() :])
        refused = mistake(path)
        assert SECRET not in str(refused)
        assert refused is None or refused.__cause__ is None, "a traceback would show it"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, len(RUN)), st.integers(0, 3), st.text("\t \n\"'{}[]:,-#&*!|>%@`?~a0\0é", max_size=4)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_whatever_is_typed_the_answer_is_a_run_or_sentences(tmp_path: Path, edits: list[tuple[int, int, str]]) -> None:
    text = RUN
    for at, removed, inserted in edits:
        text = text[:at] + inserted + text[at + removed :]
    path = tmp_path / "run.yaml"
    path.write_text(text)
    for line in str(mistake(path) or f"{path}: ").splitlines():
        assert line.startswith(f"{path}: ")
        assert "<unicode" not in line
