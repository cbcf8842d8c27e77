"""The benchmark of rerouting: what its rivals ask, how seeds and costs are brought together, and a whole small call."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rerouting, router_quality
from benchmarks.rerouting import Measured, Part
from persyn.errors import InputError
from persyn.inference import models
from persyn.policies.rerouting import CalibrationSample

# The second teacher is the best on average, and the first is the router's.
LEARNT = np.array([[0.0, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
QUALITY = np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])


def part() -> Part:
    coefficients = np.tile([2.0, 1.0, 0.0], (4, 1))
    tokens = np.tile([1.0, 10.0, 100.0], (4, 1))
    sample = CalibrationSample(coefficients, LEARNT)
    return Part(np.arange(4), sample, 1.0, tokens[0], coefficients, QUALITY, QUALITY, tokens)


def measured(*reward: float, answers: float = 1.0) -> Measured:
    values = np.array(reward)
    return Measured(values, np.full(len(values), answers), np.zeros(len(values)), np.zeros(len(values)))


def test_the_static_order_goes_down_the_means_until_an_answer_is_right() -> None:
    done = rerouting.in_order(rerouting._as_static, 2)(part(), 0)
    assert done.reward.tolist() == [0.0, 1.0, 1.0, 0.0]  # the second teacher, then the third
    assert done.answers.tolist() == [2, 1, 2, 2]
    assert done.tokens.tolist() == [110, 10, 110, 110]
    assert done.strongest.tolist() == [1, 1, 1, 1]


def test_the_next_coefficient_goes_down_the_routers_order() -> None:
    done = rerouting.in_order(lambda part, seed: part.coefficients, 2)(part(), 0)
    assert done.reward.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert done.answers.tolist() == [1, 2, 2, 2]


def test_a_random_second_teacher_comes_after_the_routed_one() -> None:
    """On the second prompt each of the others is right, on the third one of them, on the fourth none."""
    drawn = [rerouting.in_order(rerouting._at_random, 2)(part(), seed).reward for seed in range(20)]
    assert [float(one[0]) for one in drawn] == [1.0] * 20
    assert {float(one[1]) for one in drawn} == {1.0}
    assert {float(one[2]) for one in drawn} == {0.0, 1.0}


def test_what_a_verifier_takes_for_right_ends_the_asking_and_is_paid_as_it_is() -> None:
    always = rerouting.deceived(rerouting.in_order(rerouting._as_static, 3), 1.0)(part(), 0)
    assert always.answers.tolist() == [1, 1, 1, 1]
    assert always.reward.tolist() == [1, 0, 0, 0]  # all teachers seem alike, and the first one is asked
    never = rerouting.deceived(rerouting.in_order(rerouting._as_static, 3), 0.0)(part(), 0)
    assert never.reward.tolist() == [1, 1, 1, 0]


def test_two_neighbours_of_the_static_order_are_mixed_to_the_same_cost() -> None:
    ladder = [measured(0, 0, answers=1.0), measured(1, 0, answers=1.5), measured(1, 1, answers=2.0)]
    assert rerouting.static_at(ladder, "answers", 1.25).tolist() == [0.5, 0.0]
    assert rerouting.static_at(ladder, "answers", 1.5).tolist() == [1.0, 0.0]
    assert rerouting.static_at(ladder, "answers", 9.0).tolist() == [1.0, 1.0]


def test_each_prompt_is_held_out_once_a_seed_and_seeds_are_averaged() -> None:
    splits = [split for seed in range(2) for split in rerouting.splits(10, 0, 3, seed)]
    assert all(not set(own) & set(held) and len(own) + len(held) == 10 for own, held in splits)
    parts = [
        (held, {"one": measured(*(held + 10.0 * seed))}) for seed in range(2) for _, held in splits[3 * seed :][:3]
    ]
    assert rerouting.gathered(parts)["one"].reward.tolist() == [prompt + 5.0 for prompt in range(10)]
    assert [held.tolist() for _, held in rerouting.splits(10, 2, 3, 0)] == [[10, 11]]


def test_the_gap_and_the_lead_are_measured_from_the_static_best() -> None:
    found = {
        "static order ≤ 1": measured(0, 0, 1, 0, answers=1.0),
        "static order ≤ 2": measured(1, 0, 1, 0, answers=2.0),
        "≤ 2": measured(1, 1, 1, 0, answers=2.0),
        "≤ 3, accepts 5%": measured(1, 0, 1, 0, answers=2.0),
        "static order ≤ 3, accepts 5%": measured(0, 0, 0, 0, answers=2.0),
    }
    rows = rerouting.report(found, np.array([1.0, 1, 1, 1]))
    row = rows["≤ 2"]
    assert (row["gap"].mean, row["lead"].mean, row["reward"].mean) == (pytest.approx(2 / 3), 0.25, 0.75)
    assert rows["≤ 3, accepts 5%"]["lead"].mean == 0.5
    assert row["lead"].low < 0.25 < row["lead"].high
    with pytest.raises(InputError, match="there is no gap"):
        rerouting.report(found, np.array([0.0, 0, 1, 0]))


def test_a_whole_call_learns_on_one_file_and_measures_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors of eight numbers stand in for a backbone's."""
    rng = np.random.default_rng(0)

    def write(name: str, count: int) -> Path:
        path = tmp_path / name
        with path.open("w") as file:
            for number in range(count):
                answers = {
                    teacher: {"text": "word " * (1 + place), "quality": float(rng.random() < 0.3 + 0.2 * place)}
                    for place, teacher in enumerate("abc")
                }
                messages = [{"role": "user", "content": f"{name}, {number}"}]
                file.write(json.dumps({"messages": messages, "responses": answers}) + "\n")
        return path

    monkeypatch.setattr(models, "model_path", lambda *_: "")
    monkeypatch.setattr(router_quality, "embedded", lambda messages, *_: rng.normal(size=(len(messages), 8)))
    out, plot = tmp_path / "found.json", tmp_path / "found.svg"
    files = ["--train", str(write("train", 80)), "--test", str(write("test", 40))]
    argv = ["rerouting", *files, "--seeds", "1", "--out", str(out), "--plot", str(plot), "--cache", str(tmp_path)]
    monkeypatch.setattr("sys.argv", argv)
    rerouting.main()
    found = json.loads(out.read_text())
    assert found["prompts"] == 40
    rows = found["policies"]
    assert rows["≤ 3"]["gap"][0] == pytest.approx(1.0)  # all three teachers, where none is right before
    assert rows["router"]["answers"] == 1.0 <= rows["budget 1.1"]["answers"] <= rows["budget 1.4"]["answers"]
    assert "tokens 1.25" in rows
    assert "best of all" in capsys.readouterr().out
    assert "</svg>" in plot.read_text()
