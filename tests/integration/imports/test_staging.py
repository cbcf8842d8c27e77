"""The rows that go into COPY, whatever their texts hold."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from persyn.imports.prompt_records import Prompt, json_text, messages_text
from persyn.imports.source_pass import SourceItem, transaction
from persyn.imports.staging import stage

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.none() | texts, texts, st.none() | texts), max_size=20))
def test_every_text_arrives_to_the_character(engine: Engine, rows: list[tuple[str | None, str, str | None]]) -> None:
    prompts = [
        Prompt(
            id, "a" * 64, messages_text([{"role": "user", "content": content}]), reference, json_text({"m": content})
        )
        for id, content, reference in rows
    ]
    with transaction(engine) as (_, cursor):
        assert stage(cursor, [SourceItem(0, line, prompt) for line, prompt in enumerate(prompts)]) == len(rows)
        cursor.execute("SELECT external_id, messages, reference_answer, meta FROM prompt_staging ORDER BY number")
        assert [(id, m[0]["content"], reference, meta["m"]) for id, m, reference, meta in cursor.fetchall()] == [
            (id, content, reference, content) for id, content, reference in rows
        ]
        cursor.execute("DROP TABLE prompt_staging")
