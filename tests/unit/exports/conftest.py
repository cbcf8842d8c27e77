"""An answer as the tables give it, to be changed field by field."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from persyn.exports.rows import Answer


def answer(**changes: object) -> Answer:
    plain = Answer(
        prompt_id=7,
        external_id="x",
        prompt_sha256="a" * 64,
        messages=[{"content": "brief", "role": "system"}, {"content": "1+1?", "role": "user"}],
        reference_answer="2",
        metadata='{"source": "book"}',
        teacher="small",
        teacher_family="f",
        teacher_model="m",
        teacher_revision="",
        generation_id=9,
        text="It is 2",
        reasoning="",
        finish_reason="stop",
        prompt_tokens=5,
        completion_tokens=3,
        quality=1.0,
        learnability=-0.5,
        checked=True,
        flaw_words=[],
        created_at=datetime(2026, 11, 25, 12, tzinfo=UTC),
        basis="router",
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """`make_answer(field=value)`."""
    return partial(answer)
