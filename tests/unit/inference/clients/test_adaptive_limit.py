from hypothesis import given
from hypothesis import strategies as st

from persyn.inference.clients.adaptive_limit import SLOW_FACTOR, Limiter

# (what happened, how long it took)
events = st.lists(st.tuples(st.sampled_from(["answered", "refused"]), st.floats(0.0, 100.0)), max_size=300)


@given(st.integers(1, 512), events)
def test_the_limit_stays_between_one_and_the_most(most: int, happened: list[tuple[str, float]]) -> None:
    limiter, now = Limiter(most), 0.0
    for what, took in happened:
        getattr(limiter, what)(now, now + took)
        now += took
        assert 1 <= limiter.limit <= most


def test_answers_let_it_grow_to_the_most() -> None:
    limiter = Limiter(64)
    for second in range(3000):
        limiter.answered(second, second + 1.0)
    assert limiter.limit == 64


def test_one_round_of_refusals_halves_it_once() -> None:
    limiter = Limiter(64, start=64)
    for _ in range(64):
        limiter.refused(0.0, 1.0)
    assert limiter.limit == 32
    limiter.refused(1.5, 2.0)
    assert limiter.limit == 16


@given(st.integers(0, 500), st.floats(1.0, 64.0))
def test_a_refusal_never_raises_it_and_an_answer_in_time_never_lowers_it(answers: int, start: float) -> None:
    limiter = Limiter(64, start=start)
    for second in range(answers):
        before = limiter.limit
        limiter.answered(second, second + 1.0)
        assert limiter.limit >= before
    before = limiter.limit
    limiter.refused(1000.0, 1001.0)
    assert limiter.limit <= before


def test_an_answer_much_slower_than_usual_halves_it() -> None:
    limiter = Limiter(64, start=32)
    for second in range(100):
        limiter.answered(second, second + 1.0)
    before = limiter.limit
    limiter.answered(200.0, 200.0 + SLOW_FACTOR + 0.5)
    assert limiter.limit == before // 2


def test_it_settles_near_what_a_server_takes() -> None:
    """A server that takes 20 at once and refuses the rest: after a while between half of it and a little more."""
    limiter, seen = Limiter(512), []
    for second in range(400):
        for place in range(limiter.limit):
            (limiter.answered if place < 20 else limiter.refused)(second, second + 0.5)
        seen.append(limiter.limit)
    assert min(seen[50:]) >= 9
    assert max(seen[50:]) <= 22
