"""The two layouts of a row."""

from persyn.exports.rows import RoutedAnswer, training_row

ANSWER = RoutedAnswer(
    prompt_id=7,
    external_id="x",
    messages=[{"content": "brief", "role": "system"}, {"content": "1+1?", "role": "user"}],
    teacher="small",
    generation_id=9,
    answer="2",
)
ORIGIN = {"prompt_id": 7, "external_id": "x", "teacher": "small", "generation_id": 9}


def test_messages_is_one_conversation_that_ends_with_the_answer() -> None:
    assert training_row(ANSWER, "messages") == ORIGIN | {
        "messages": [
            {"role": "system", "content": "brief"},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2"},
        ]
    }


def test_prompt_completion_keeps_the_answer_apart() -> None:
    assert training_row(ANSWER, "prompt_completion") == ORIGIN | {
        "prompt": [{"role": "system", "content": "brief"}, {"role": "user", "content": "1+1?"}],
        "completion": [{"role": "assistant", "content": "2"}],
    }


def test_keys_stand_in_a_fixed_order_whatever_the_database_says() -> None:
    assert [list(message) for message in training_row(ANSWER, "messages")["messages"]] == [["role", "content"]] * 3
