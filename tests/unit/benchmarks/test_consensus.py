"""The benchmark of agreement as a verdict: its figures by hand, and a whole small call."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import consensus


def test_auc_by_hand() -> None:
    value, right = np.array([1.0, 0.5, 0.5, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    assert consensus.auc(value, right, np.ones(4)) == pytest.approx(3.5 / 4)
    assert consensus.auc(value, right, np.array([1.0, 0.0, 1.0, 1.0])) == 1.0
    assert math.isnan(consensus.auc(value, np.ones(4), np.ones(4)))


def agreement(*groups: int) -> consensus.Floats:
    """(M, M): teachers of the same group agree."""
    return np.array([[float(one == other) for other in groups] for one in groups])


def test_a_prompt_whose_opinion_differs_gets_a_third_teacher() -> None:
    agree = np.array([
        agreement(1, 1, 2, 3),  # agreed at once
        agreement(1, 2, 2, 3),  # the third sides with the opinion
        agreement(1, 2, 1, 3),  # ... or with the first
        agreement(1, 2, 3, 1),  # nobody but the fourth, with one of three
        agreement(1, 2, 3, 4),  # nobody: the first is kept
    ])  # fmt: skip
    kept, answers = consensus.rerouted(np.tile([1.0, 2.0, 3.0, 4.0], (5, 1)), agree)
    assert kept.tolist() == [1, 3, 3, 4, 1]  # the number of the teacher whose answer is kept
    assert answers.tolist() == [2, 3, 3, 4, 4]


def test_the_majority_is_that_of_the_best_teacher_where_it_is_split() -> None:
    right = np.tile([1.0, 2.0, 3.0, 4.0], (2, 1))
    assert consensus.majority(right, np.array([agreement(1, 2, 2, 2), agreement(1, 2, 2, 1)])).tolist() == [2, 1]


def test_what_nobody_can_compare_does_not_count() -> None:
    assert consensus.share(np.array([[1.0, np.nan, 0.0], [np.nan, 1.0, 1.0]])).tolist() == [0.5, 1.0]


def test_a_whole_call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for number in range(12):
        texts = {"best": "It is 4.", "good": "\\boxed{4}" if number % 3 else "It is 5.", "weak": "It is 6."}
        responses = {name: {"text": said, "quality": float("4" in said)} for name, said in texts.items()}
        lines.append(json.dumps({"responses": responses}))
    data = tmp_path / "answers.jsonl"
    data.write_text("\n".join(lines))
    monkeypatch.setattr("sys.argv", ["consensus", str(data)])
    consensus.main()
    told = capsys.readouterr().out
    assert "12 problems; the best teacher is best." in told
    assert "| opinion of good | 66.7% [" in told
    assert "| opinion of weak | 0.0% [0.0%, 0.0%] |" in told
