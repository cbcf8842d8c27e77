"""What a host lacks: a part of a queue or all of it, for a while that grows, until it works again."""

from persyn.jobs import Without
from persyn.workers.fitness import FIRST_WAIT_S, LONGEST_WAIT_S, TRIED_WITHIN_S, Fitness, Need

QUEUE = "score.quality"
JUDGE, OTHER = Need(QUEUE, scorer_id=7), Need(QUEUE, scorer_id=8)
NOTHING = Without([], [], [])


def test_a_lack_concerns_its_group_alone_and_ends_by_itself() -> None:
    fitness = Fitness()
    wait = fitness.failed(JUDGE, "no key", now=100.0)
    assert FIRST_WAIT_S / 2 <= wait <= FIRST_WAIT_S
    assert fitness.without(QUEUE, 100.0) == Without([], [], [7])
    assert fitness.without("router", 100.0) == NOTHING
    assert fitness.serves(QUEUE, 100.0)
    assert fitness.without(QUEUE, 100.0 + wait) == NOTHING


def test_an_unforeseen_error_closes_the_whole_queue_for_a_while() -> None:
    fitness = Fitness()
    wait = fitness.failed(Need(QUEUE), "a bug", now=0.0)
    assert not fitness.serves(QUEUE, 0.0)
    assert fitness.serves("router", 0.0)
    assert fitness.serves(QUEUE, wait)


def test_waits_grow_up_to_a_bound_and_begin_anew_after_a_success() -> None:
    fitness = Fitness()
    waits = [fitness.failed(JUDGE, "no key", now=0.0) for _ in range(30)]
    assert LONGEST_WAIT_S / 2 <= max(waits) <= LONGEST_WAIT_S
    assert fitness.worked(JUDGE)
    assert not fitness.worked(JUDGE)
    assert fitness.failed(JUDGE, "no key", now=0.0) <= FIRST_WAIT_S


def test_a_report_names_each_reason_of_a_queue_once_until_it_is_known_to_be_over() -> None:
    fitness = Fitness()
    waits = [fitness.failed(need, "no student", now=0.0) for need in (JUDGE, OTHER)]
    (lack,) = fitness.report(now=0.0)
    assert (lack.queue, lack.reason, lack.again_in_s) == (QUEUE, "no student", max(waits))
    assert len(fitness.report(now=max(waits) + 1.0)) == 1, "it is tried again any moment"
    assert fitness.report(now=max(waits) + TRIED_WITHIN_S) == []
