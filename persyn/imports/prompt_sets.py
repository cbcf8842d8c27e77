"""The prompt sets and their prompts, for people to look at."""

from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from persyn.errors import NotFound

LIST = """
SELECT s.id, s.name, count(p.id), count(p.reference_answer), s.created_at
FROM prompt_set s LEFT JOIN prompt p ON p.prompt_set_id = s.id
GROUP BY s.id ORDER BY s.name
"""
PROMPTS = """
SELECT p.id, p.position, p.external_id, p.messages, p.tools, p.reference_answer, p.meta,
       (SELECT count(*) FROM generation g WHERE g.prompt_id = p.id)
FROM prompt p WHERE p.prompt_set_id = :set_id
"""
HEAD = f"{PROMPTS} ORDER BY p.position LIMIT :count"
BY_NAME = (
    f"{PROMPTS} AND (p.external_id = :name OR p.id = :number) ORDER BY p.external_id = :name DESC, p.position LIMIT 20"
)


class PromptSetInfo(NamedTuple):
    id: int
    name: str
    prompts: int
    with_reference_answer: int
    created_at: str  # ISO 8601


class PromptInfo(NamedTuple):
    """A stored prompt."""

    id: int
    position: int  # the order of import, from 0
    external_id: str | None
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    reference_answer: str | None
    meta: dict[str, Any]
    answers: int


def list_sets(engine: Engine) -> list[PromptSetInfo]:
    """Every prompt set by name, with its size."""
    with engine.connect() as connection:
        rows = connection.execute(text(LIST)).all()
    return [PromptSetInfo(id, name, prompts, answers, at.isoformat()) for id, name, prompts, answers, at in rows]


def head(engine: Engine, set_name: str, count: int) -> list[PromptInfo]:
    """The first prompts of a set. Raises NotFound."""
    return _prompts(engine, set_name, HEAD, count=count)


def show(engine: Engine, set_name: str, name: str) -> list[PromptInfo]:
    """The prompts of an id in the user's file, or the one of a number. Raises NotFound."""
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else None
    found = _prompts(engine, set_name, BY_NAME, name=name, number=number)
    if not found:
        raise NotFound(
            f"The set {set_name} has no prompt {name!r}. `persyn prompts head {set_name}` shows the first ones."
        )
    return [prompt for prompt in found if (prompt.external_id == name) == (found[0].external_id == name)]


def _prompts(engine: Engine, set_name: str, statement: str, **values: Any) -> list[PromptInfo]:
    with engine.connect() as connection:
        set_id = connection.execute(text("SELECT id FROM prompt_set WHERE name = :name"), {"name": set_name}).scalar()
        if set_id is None:
            raise NotFound(f"There is no prompt set {set_name!r}. `persyn prompts list` lists those that there are.")
        return [PromptInfo(*row) for row in connection.execute(text(statement), {"set_id": set_id} | values)]
