"""A set is cut into ranges that hold every undecided prompt once, and none that is another set's or decided."""

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from persyn.stages import ranges

if TYPE_CHECKING:
    from tests.integration.conftest import SmallRun

PROMPTS = 30


def decide(conn: Connection, run: "SmallRun", positions: set[int]) -> None:
    conn.execute(
        text("""
        INSERT INTO routing_decision (run_id, prompt_id, policy, basis, teacher_id, lease_id)
        SELECT r.id, p.id, r.policy, 'static', rt.teacher_id, 1
        FROM run r JOIN run_teacher rt ON rt.run_id = r.id AND rt.position = 0
        JOIN prompt p ON p.prompt_set_id = r.prompt_set_id AND p.position = ANY(:positions)
        """),
        {"positions": list(positions)},
    )


def cut(conn: Connection) -> list[tuple[int, int]]:
    rows = conn.execute(text("SELECT first_prompt_id, last_prompt_id FROM job WHERE kind = 'route' ORDER BY id"))
    return [(row.first_prompt_id, row.last_prompt_id) for row in rows]


@pytest.fixture
def between_others(small_run: "SmallRun") -> "SmallRun":
    """A run whose prompts' numbers have another set's among them."""
    with small_run.engine.begin() as conn:
        conn.execute(text("INSERT INTO prompt_set (name) VALUES ('other')"))
        for position in range(100, 100 + PROMPTS - 8):
            conn.execute(
                text("""
                INSERT INTO prompt (prompt_set_id, position, sha256, messages)
                SELECT s.id, :position, encode(sha256(CAST(s.name || :key AS bytea)), 'hex'), '[]'
                FROM prompt_set s ORDER BY s.name
                """),
                {"position": position, "key": str(position)},
            )
    return small_run


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, PROMPTS + 5), decided=st.sets(st.sampled_from([*range(8), *range(100, 100 + PROMPTS - 8)])))
def test_each_undecided_prompt_lies_in_one_range_and_no_range_is_too_large(
    between_others: "SmallRun", size: int, decided: set[int]
) -> None:
    run = between_others
    with pytest.MonkeyPatch.context() as patch, run.engine.connect() as conn:
        patch.setattr(ranges, "PROMPTS", size)
        decide(conn, run, decided)
        made = ranges.enqueue(conn, run.id)
        found = cut(conn)
        left = conn.execute(
            text("""
            SELECT p.id FROM prompt p JOIN prompt_set s ON s.id = p.prompt_set_id
            WHERE s.name = 'set' AND p.position <> ALL(:decided) ORDER BY 1
            """),
            {"decided": list(decided)},
        ).scalars().all()  # fmt: skip
        assert ranges.count(conn, run.id) == len(left) == PROMPTS - len(decided)
        assert ranges.enqueue(conn, run.id) == 0, "they are open already"
        conn.rollback()
    held = [[prompt for prompt in left if first <= prompt <= last] for first, last in found]
    assert [prompt for part in held for prompt in part] == left
    assert [len(part) for part in held[:-1]] == [size] * (len(held) - 1)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert all((part[0], part[-1]) == ends for part, ends in zip(held, found, strict=True))
    assert made == len(found)


def test_calibration_prompts_that_a_run_excludes_are_in_no_count(small_run: "SmallRun") -> None:
    small_run.advance()
    with small_run.engine.begin() as conn:
        assert ranges.count(conn, small_run.id) == 8
        conn.execute(text('UPDATE run SET config = config || \'{"calibration_answers": "exclude"}\''))
        assert ranges.count(conn, small_run.id) == 4
        assert ranges.enqueue(conn, small_run.id) == 1
