"""The lines of a log: what each says, and that no text from outside can break one."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn import logs, secrets

HOSTILE = "no\n2026-01-01T00:00:00+00:00 ERROR forged\r\x1b[31m red\x9b2J\u2028next\u202eback \ud800 ü"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Give the lines that an act logs, as one of the two formats has them."""
    root = logging.getLogger()
    before = list(root.handlers), root.level

    def written(
        form: logs.Format, act: Callable[[logging.Logger], Any], level: logs.Level = logs.Level.INFO
    ) -> list[str]:
        stream = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            logs.to_stderr(level, form, worker="vm:7")
        act(logging.getLogger("persyn.test"))
        return stream.getvalue().split("\n")[:-1]

    yield written
    logging.captureWarnings(False)
    root.handlers[:], root.level = before


def fails(log: logging.Logger) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("action=drain queue=%s", HOSTILE)


def test_a_line_says_when_and_where_and_what_it_is_about(lines: Any) -> None:
    def act(log: logging.Logger) -> None:
        with logs.about(teacher="ann"), logs.about(run=3, job=17):
            log.info("action=fail attempt=%d no answer", 2)
        log.info("action=idle")

    about, idle = lines(logs.Format.TEXT, act)
    stamp, rest = about.split(" ", 1)
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert re.fullmatch(
        r"INFO persyn\.test host=\S+ worker=vm:7 teacher=ann run=3 job=17 action=fail attempt=2 no answer", rest
    )
    assert idle.endswith(" worker=vm:7 action=idle")
    found = json.loads(lines(logs.Format.JSON, act)[0])
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found.pop("host")
    assert found == {
        "level": "info", "logger": "persyn.test", "worker": "vm:7", "teacher": "ann", "run": "3", "job": "17",
        "action": "fail", "message": "attempt=2 no answer",
    }  # fmt: skip


def test_hostile_text_stays_in_its_line_and_gives_no_orders(lines: Any) -> None:
    first, *rest = lines(logs.Format.TEXT, fails)
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert r"no\n2026" in first
    assert "ü" in first
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e\ud800]", "".join([first, *rest]))


def test_a_line_of_json_is_one_object_with_its_traceback(lines: Any) -> None:
    (line,) = lines(logs.Format.JSON, fails)
    found = json.loads(line)
    assert line.isascii()
    assert found["message"].startswith("queue=no\n2026")
    assert found["traceback"].startswith("Traceback (most recent call last)")


@given(st.text())
def test_any_text_at_all_gives_one_line(text: str) -> None:
    record = logging.LogRecord("persyn", logging.INFO, "", 0, text, None, None)
    assert len(logs.TextLines().format(record).splitlines()) == 1
    found = json.loads(logs.JsonLines().format(record))
    assert found["message"] == text.removeprefix("action=x ") or "action" in found


@pytest.mark.parametrize("form", list(logs.Format))
def test_a_key_is_masked_in_both(lines: Any, form: logs.Format) -> None:
    secrets.know("sk-live-0123456789abcdef")

    def act(log: logging.Logger) -> None:
        try:
            raise ValueError("refused sk-live-0123456789abcdef")
        except ValueError:
            log.exception("key sk-live-0123456789abcdef")

    said = "\n".join(lines(form, act))
    assert "0123456789" not in said
    assert said.count("***") >= 2


def test_the_level_is_kept_and_libraries_say_less(lines: Any) -> None:
    def act(log: logging.Logger) -> None:
        log.info("seen?")
        logging.getLogger("httpx").info("HTTP Request")

    assert len(lines(logs.Format.TEXT, act, logs.Level.INFO)) == 1
    assert lines(logs.Format.TEXT, act, logs.Level.WARNING) == []
    assert len(lines(logs.Format.TEXT, act, logs.Level.DEBUG)) == 2


def test_several_numbers_are_told_once_each_and_never_without_end() -> None:
    assert logs.several([2, 1, 2]) == "1,2"
    assert logs.several(range(100)) == "0,1,2,3,4,5,6,7,8,9…"
