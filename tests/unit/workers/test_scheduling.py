from hypothesis import given
from hypothesis import strategies as st

from persyn.workers.scheduling import STARVED_S, Candidate, Places, choose, should_yield

ages = st.floats(min_value=0.0, max_value=10 * STARVED_S, allow_nan=False)
candidates = st.lists(
    st.builds(Candidate, queue=st.text("abcdef", min_size=1, max_size=3), jobs=st.integers(0, 500), oldest_s=ages,
              loaded=st.booleans(), stage=st.sampled_from([10, 20, 60])),
    max_size=8, unique_by=lambda candidate: candidate.queue,
)  # fmt: skip


def young(queue: str, jobs: int, *, loaded: bool = False, age: float = 1.0) -> Candidate:
    return Candidate(queue, jobs, age, loaded)


def test_nothing_due_is_nothing_to_choose() -> None:
    assert choose([]) is None
    assert choose([young("a", 0, loaded=True)]) is None


def test_the_loaded_model_is_kept_while_it_has_work_however_much_waits_elsewhere() -> None:
    assert choose([young("a", 1, loaded=True), young("b", 900)]) == "a"


def test_the_next_model_is_the_one_with_most_work() -> None:
    assert choose([young("a", 0, loaded=True), young("b", 9), young("c", 10)]) == "c"


def test_of_starved_queues_the_longest_waiting_goes_first() -> None:
    waiting = [young("a", 900, loaded=True), young("b", 1, age=STARVED_S), young("c", 1, age=STARVED_S + 1)]
    assert choose(waiting) == "c"


def test_queues_filled_at_the_same_moment_do_not_take_turns_once_all_are_old() -> None:
    old = [young("a", 9, loaded=True, age=STARVED_S), young("b", 9, age=STARVED_S + 0.001)]
    assert choose(old) == "a"
    assert not should_yield("a", old)


def test_a_drain_makes_room_only_for_what_has_starved_longer_than_its_own_work() -> None:
    loaded = young("a", 900, loaded=True)
    assert not should_yield("a", [loaded, young("b", 900, age=STARVED_S - 1)])
    assert should_yield("a", [loaded, young("b", 1, age=STARVED_S + 1)])
    assert not should_yield("a", [loaded._replace(oldest_s=9.0), young("b", 1, age=STARVED_S + 1)])


def test_an_earlier_stage_goes_before_a_later_one_however_long_that_waits_and_however_much_of_it() -> None:
    late = young("score.learnability", 50_000, loaded=True, age=9 * STARVED_S)._replace(stage=60)
    early = young("score.quality", 90, loaded=True)._replace(stage=20)
    assert choose([late, early]) == "score.quality"
    assert should_yield("score.learnability", [late, early])
    assert not should_yield("score.quality", [late, early])
    needs_a_load = early._replace(loaded=False)
    assert choose([late, needs_a_load]) == "score.learnability"
    assert not should_yield("score.learnability", [late, needs_a_load])


@given(candidates)
def test_only_a_queue_with_work_is_chosen_and_one_is_whenever_there_is_work(waiting: list[Candidate]) -> None:
    with_work = {candidate.queue for candidate in waiting if candidate.jobs}
    chosen = choose(waiting)
    assert (chosen in with_work) if with_work else chosen is None


@given(candidates)
def test_a_swap_is_needed_or_starvation_wants_it(waiting: list[Candidate]) -> None:
    chosen = next((c for c in waiting if c.queue == choose(waiting)), None)
    if chosen is not None and not chosen.loaded and chosen.oldest_s < STARVED_S:
        assert not any(candidate.loaded and candidate.jobs for candidate in waiting)


@given(candidates)
def test_a_drain_never_yields_to_a_queue_that_would_not_be_chosen_then(waiting: list[Candidate]) -> None:
    for current in waiting:
        if current.loaded and should_yield(current.queue, waiting):
            assert choose(waiting) != current.queue


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=6), st.lists(st.integers(0, 200), min_size=6, max_size=6))
def test_no_queue_waits_for_ever(work: list[int], arrivals: list[int]) -> None:
    """Every drain takes 100 s and up to 500 jobs, while new work keeps coming in for every queue."""
    queues, ages, loaded = dict(enumerate(work)), dict.fromkeys(range(len(work)), 0.0), 0
    for _ in range(200):
        view = [Candidate(str(q), jobs, ages[q], q == loaded) for q, jobs in queues.items()]
        chosen = int(choose(view) or 0)
        loaded = chosen
        for q in queues:
            queues[q] += arrivals[q]
            ages[q] = ages[q] + 100.0 if queues[q] else 0.0
        queues[chosen] = max(0, queues[chosen] - 500)
        ages[chosen] = 0.0
        # At the bound several may starve at once; each of the others is served before its turn.
        assert max(ages.values()) <= 2 * STARVED_S + 100.0 * (len(work) + 1)


def aside(queue: str) -> Candidate:
    return Candidate(queue, 5, 1.0, loaded=True, aside=True)


def names(found: list[Candidate]) -> list[str]:
    return [candidate.queue for candidate in found]


def test_endpoints_are_asked_beside_each_other_and_beside_the_one_model_of_the_host() -> None:
    waiting = [aside("a"), aside("b"), aside("c"), young("score", 9), young("router", 1)]
    places = Places(aside=2)
    assert names(places.free_for(waiting, {})) == ["a", "b", "c", "score", "router"]
    assert names(places.free_for(waiting, {"score": False})) == ["a", "b", "c"]
    assert names(places.free_for(waiting, {"a": True, "b": True})) == ["score", "router"]
    assert names(places.free_for(waiting, {"a": True, "b": True, "router": False})) == []


def test_a_drain_yields_only_to_what_waits_for_its_own_place() -> None:
    waiting = [aside("a"), aside("b"), aside("c"), young("score", 9), young("router", 1)]
    places = Places(aside=2)
    assert names(places.rivals_of("score", waiting, {"score": False, "a": True})) == ["router", "score"]
    assert names(places.rivals_of("a", waiting, {"a": True})) == [], "there is room for the others"
    assert names(places.rivals_of("a", waiting, {"a": True, "b": True})) == ["c", "a"]
