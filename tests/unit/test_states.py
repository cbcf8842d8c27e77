"""The state machine as data, and the page that draws it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persyn.states import FINAL, TRANSITIONS, JobEvent, JobState, Stage, follow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state_machine.md"
EVENTS = st.lists(st.sampled_from(JobEvent), max_size=12)


def test_every_event_has_a_transition() -> None:
    assert TRANSITIONS.keys() == set(JobEvent)


def test_every_state_is_reached() -> None:
    assert {target for _, target in TRANSITIONS.values()} == set(JobState)


def test_only_an_operator_leaves_a_final_state() -> None:
    leaving = {event for event, (sources, _) in TRANSITIONS.items() if sources & FINAL}
    assert leaving == {JobEvent.CANCELLED, JobEvent.REVIVED}


def test_nothing_leaves_done() -> None:
    assert [event for event, (sources, _) in TRANSITIONS.items() if JobState.DONE in sources] == []


def test_stages_are_in_the_order_in_which_they_run() -> None:
    assert [stage.name for stage in sorted(Stage)] == [
        "CALIBRATE", "SCORE", "TRAIN", "ROUTE", "GENERATE", "SCORE_ROUTED", "REROUTE", "TRAIN_STUDENT",
    ]  # fmt: skip


def test_no_events_lead_nowhere() -> None:
    assert follow([]) is None


def test_a_life_with_every_kind_of_setback_ends_done() -> None:
    life = ["enqueued", "claimed", "lost", "claimed", "released", "claimed", "retried", "claimed", "died", "revived"]
    assert follow([JobEvent(event) for event in [*life, "claimed", "completed"]]) == JobState.DONE


@pytest.mark.parametrize(
    ("events", "position"),
    [
        (["claimed"], 0),  # before it exists
        (["enqueued", "enqueued"], 1),
        (["enqueued", "completed"], 1),  # never claimed
        (["enqueued", "claimed", "claimed"], 2),  # two owners
        (["enqueued", "claimed", "completed", "completed"], 3),  # a zombie
        (["enqueued", "claimed", "cancelled"], 2),  # a leased job finishes first
        (["enqueued", "claimed", "completed", "revived"], 3),
        (["enqueued", "cancelled", "cancelled"], 2),
    ],
)
def test_an_illegal_chain_is_refused_where_it_breaks(events: list[str], position: int) -> None:
    with pytest.raises(ValueError, match=f"^event {position} "):
        follow([JobEvent(event) for event in events])


@given(EVENTS)
def test_a_chain_is_legal_just_when_each_step_is(events: list[JobEvent]) -> None:
    states: list[JobState | None] = [None, *(TRANSITIONS[event][1] for event in events)]
    legal = all(state in TRANSITIONS[event][0] for state, event in zip(states, events, strict=False))
    if legal:
        assert follow(events) == states[-1]
    else:
        with pytest.raises(ValueError, match="not allowed"):
            follow(events)


def documented() -> dict[str, tuple[set[str], str]]:
    """event → (from, to), from the page's table of transitions."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {event: (set(re.findall(r"`(\w+)`", sources)), target) for event, sources, target in rows}


def drawn() -> set[tuple[str, str, str]]:
    """(from, to, event) of every arrow in the page's first diagram."""
    diagram = PAGE.read_text(encoding="utf-8").split("```")[1]
    arrows = re.findall(r"^ +(\S+) --> (\S+): ([\w, ]+)$", diagram, re.MULTILINE)
    return {(source, target, event) for source, target, events in arrows for event in events.split(", ")}


def test_the_page_lists_the_transitions_as_they_are() -> None:
    expected = {
        str(event): ({str(source) for source in sources if source}, str(target))
        for event, (sources, target) in TRANSITIONS.items()
    }
    assert documented() == expected


def test_the_page_draws_the_transitions_as_they_are() -> None:
    assert drawn() == {
        (str(source or "[*]"), str(target), str(event))
        for event, (sources, target) in TRANSITIONS.items()
        for source in sources
    }
