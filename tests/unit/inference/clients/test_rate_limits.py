import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.inference.clients.rate_limits import Bucket, RateLimit, Rates


@given(st.floats(1.0, 10_000.0), st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200))
def test_never_more_than_rate_times_time_plus_one_burst(per_minute: float, pauses: list[float]) -> None:
    bucket, now, taken, burst = Bucket(per_minute, 0.0), 0.0, 0, max(1.0, per_minute / 6)
    for pause in pauses:
        now += pause
        if bucket.wait_s(1.0, now) == 0.0:
            bucket.take(1.0, now)
            taken += 1
        assert taken <= per_minute / 60.0 * now + burst + 1e-6


@given(st.floats(1.0, 10_000.0), st.floats(0.0, 10_000.0))
def test_after_the_wait_it_is_there(per_minute: float, spent: float) -> None:
    bucket = Bucket(per_minute, 0.0)
    bucket.take(spent, 0.0)
    wait = bucket.wait_s(1.0, 0.0)
    assert bucket.wait_s(1.0, wait + 1e-3) == pytest.approx(0.0, abs=1e-6)


def test_an_answer_may_overdraw_and_what_follows_waits_for_the_debt() -> None:
    budget = RateLimit(Rates(tokens=600), 0.0)  # 10 a second, a burst of 100
    assert budget.wait_s(0.0) == 0.0
    budget.used(700, 0.0)
    assert budget.wait_s(0.0) == pytest.approx(60.1)
    assert budget.wait_s(61.0) == 0.0


def test_the_tighter_limit_holds() -> None:
    budget = RateLimit(Rates(requests=6, tokens=6_000_000), 0.0)
    budget.sent(0.0)
    budget.used(10, 0.0)
    assert budget.wait_s(0.0) == pytest.approx(10.0)


def test_a_wait_that_the_server_asked_for_holds_for_every_request_and_is_never_shortened() -> None:
    budget = RateLimit(Rates(), 0.0)
    budget.close_for(30.0, 0.0)
    budget.close_for(5.0, 1.0)
    assert budget.wait_s(10.0) == 20.0
    assert budget.wait_s(31.0) == 0.0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = Bucket(60, 100.0, burst=1.0)
    bucket.take(1.0, 100.0)
    assert bucket.wait_s(1.0, 50.0) == bucket.wait_s(1.0, 100.0) == 1.0
