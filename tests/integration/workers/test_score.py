"""Several scorers of one answer, through a real worker and a real student."""

import json
from typing import Any

import pytest

from persyn import runs
from persyn.config import parse_run
from persyn.stages import pipeline
from persyn.states import Stage

LEARNABILITY = [
    {"kind": "loglik", "weight": 2.0},
    {"kind": "ifd", "weight": 1.0},
    {"kind": "rank_surprisal", "weight": 0.0, "answer_tokens": 5},
    {"kind": "scas", "weight": 1.0},
    {"kind": "lark", "weight": 1.0},
    {"kind": "local_naturalness", "window": 0},
]


def create(site: Any, **scorers: Any) -> int:
    raw = json.loads(site.config_file.read_text()) | {"name": f"scored-{site.tag}", "scorers": scorers}
    with site.engine.begin() as conn:
        run_id = runs.create(conn, parse_run(raw, source="test"))
        runs.aim(conn, run_id, Stage.TRAIN)
    pipeline.advance(site.engine, run_id)
    return run_id


def test_all_measures_of_an_answer_are_stored_raw_and_a_router_learns_from_their_mix(site: Any) -> None:
    site.prepare(12, 6)
    run_id = create(site, learnability=LEARNABILITY)
    site.start_worker()
    site.follow(run_id)
    answers = 6 * site.TEACHERS
    stored = site.rows("""
        SELECT sc.method, count(*), count(*) FILTER (WHERE s.value < 0) FROM score s
        JOIN scorer sc ON sc.id = s.scorer_id WHERE sc.kind = 'learnability' GROUP BY sc.method""")
    assert sorted(map(tuple, stored)) == [
        ("ifd", answers, answers), ("lark", answers, 0), ("local_naturalness", answers, answers),
        ("loglik", answers, answers), ("rank_surprisal", answers, answers), ("scas", answers, answers),
    ]  # fmt: skip
    assert site.scalar("SELECT max((s.detail ->> 'tokens')::int) FROM score s WHERE s.detail ? 'rsr'") == 5
    loss = "round((s.detail ->> 'loss')::numeric, 4) = round(-l.value::numeric, 4)"
    assert (
        site.scalar(f"""
        SELECT count(*) FROM score s JOIN scorer sc ON sc.id = s.scorer_id AND sc.method = 'lark'
        JOIN score l ON l.generation_id = s.generation_id JOIN scorer lc ON lc.id = l.scorer_id AND lc.method = 'loglik'
        WHERE {loss}""")
        == answers
    )
    # one forward pass for an answer's measures: they were claimed and completed together
    leases = site.rows("""
        SELECT s.generation_id FROM score s JOIN scorer sc ON sc.id = s.scorer_id WHERE sc.kind = 'learnability'
        GROUP BY s.generation_id HAVING count(DISTINCT s.lease_id) > 1""")
    assert leases == []
    assert site.scalar("SELECT count(*) FROM router WHERE run_id = :id", id=run_id) == 1
    assert site.violations() == {}


@pytest.mark.parametrize(
    ("scorers", "reason"),
    [
        ({"learnability": [{"kind": "loglik", "weight": 0.0}]}, "at least one scorer needs a weight above 0"),
        ({"learnability": [{"kind": "ifd"}, {"kind": "ifd", "weight": 2.0}]}, "the same but for their weight"),
        ({"learnability": {"kind": "vibes"}}, "scorers.learnability"),
        ({"quality": [{"kind": "imported"}, {"kind": "imported", "source": "b"}]}, "only one scorer can be imported"),
        ({"quality": {"kind": "imported", "minimum": 1, "maximum": 1}}, "minimum must be less than maximum"),
    ],
)
def test_scorers_that_make_no_sense_are_refused_in_one_sentence(scorers: Any, reason: str) -> None:
    from persyn.errors import ConfigError

    teachers = [{"name": name, "family": "f"} for name in ("a", "b")]
    raw = {"name": "r", "prompts": "p", "student": {"name": "s", "model": "m"}, "teachers": teachers}
    with pytest.raises(ConfigError, match=reason):
        parse_run(raw | {"scorers": scorers}, source="run.yaml")
