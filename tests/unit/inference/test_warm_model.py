"""The warm model: loaded once, kept while it is asked for, gone before another takes its place."""

from persyn.inference.warm_model import WarmModel


def test_one_model_is_kept_and_another_takes_its_place_after_room_is_made() -> None:
    log: list[str] = []
    warm = WarmModel(make_room=lambda: log.append("room"))

    def load(name: str) -> str:
        log.append(name)
        return name

    assert warm.get(("student", 1), lambda: load("a")) == "a"
    assert warm.get(("student", 1), lambda: load("a again")) == "a"
    assert warm.get(("reward_model", 1), lambda: load("b")) == "b"  # the same number, another kind
    warm.drop()
    assert warm.get(("reward_model", 1), lambda: load("b")) == "b"
    assert log == ["room", "a", "room", "b", "room", "b"]
