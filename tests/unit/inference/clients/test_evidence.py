"""Whose fault a failed request is, told from the answers to others."""

from hypothesis import given
from hypothesis import strategies as st

from persyn.inference.clients.evidence import Evidence

moments = st.floats(0.0, 1e9)


@given(st.lists(moments), moments)
def test_only_an_answer_to_what_was_sent_at_the_same_time_or_later_clears_a_key(sent: list[float], at: float) -> None:
    evidence = Evidence()
    for moment in sent:
        evidence.answered(moment)
    assert evidence.clears("refused_auth", at) == any(moment >= at for moment in sent)
    assert evidence.clears("bad_request", at) == bool(sent)


def test_what_was_answered_before_a_pause_says_nothing_of_the_time_after_it() -> None:
    evidence = Evidence()
    evidence.answered(5.0)
    evidence.held_back()
    assert not evidence.clears("bad_request", 6.0)
    assert not evidence.clears("server_error", 6.0)
