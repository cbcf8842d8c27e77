"""The work of a run by stage: answers and scores, tokens, hours, money and disk.

From earlier answers of the same teachers where there are any, else from assumptions that the report names.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from persyn.config import Imported, Judge, Price, RunConfig, Teacher
from persyn.preflight.report import StageEstimate

ASSUMED_TOKENS = 300  # of an answer, where nothing was measured
ASSUMED_BELOW_BAR = 0.5  # of the routed answers, and of each further one
_CHARACTERS_A_TOKEN = 4
_TEMPLATE_TOKENS = 10
_RUBRIC_TOKENS, _VERDICT_TOKENS = 450, 60
_IN_FLIGHT = 64  # at a server that the worker starts

# Bytes of a row with its index entries, as docs/deploying.md has them; an answer's row without its text.
_DECISION, _ANSWER, _SCORE, _JOB, _EVENTS = 172, 239, 131, 446, 244
_BYTES_A_TOKEN = 4

_LOOKED_AT = 2_000  # prompts whose lengths and answers stand for the others'
_NEWEST = 20_000  # answers that the means are taken from

_SIZE = text("""
SELECT (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id) AS prompts,
       (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id AND p.reference_answer IS NOT NULL)
           AS with_reference,
       (SELECT count(*) FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id AND p.tools IS NOT NULL) AS with_tools,
       (SELECT count(*) FROM calibration_prompt c JOIN prompt p ON p.id = c.prompt_id
        WHERE c.run_id = coalesce(r.router_run_id, r.id) AND p.prompt_set_id = r.prompt_set_id) AS calibration,
       (SELECT avg(few.characters) FROM (
           SELECT (SELECT sum(length(m ->> 'content')) FROM jsonb_array_elements(p.messages) AS m)
                + coalesce(length(CAST(p.tools AS text)), 0) AS characters
           FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id LIMIT :looked_at) AS few) AS characters
FROM run r WHERE r.id = :run_id
""")

_THERE = text("""
SELECT t.name,
       (SELECT count(*) FROM calibration_prompt c
        JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = t.id AND g.sample_index = 0
        JOIN prompt p ON p.id = c.prompt_id AND p.prompt_set_id = r.prompt_set_id
        WHERE c.run_id = coalesce(r.router_run_id, r.id)) AS calibrated,
       (SELECT count(g.id)::float8 / nullif(count(DISTINCT other.id) * asked.samples, 0) FROM (
           SELECT p.id FROM prompt p WHERE p.prompt_set_id = r.prompt_set_id AND NOT EXISTS (
               SELECT FROM calibration_prompt c
               WHERE c.run_id = coalesce(r.router_run_id, r.id) AND c.prompt_id = p.id)
           LIMIT :looked_at) AS other
        LEFT JOIN generation g ON g.prompt_id = other.id AND g.teacher_id = t.id
                             AND g.sample_index < asked.samples) AS others
FROM run r JOIN run_teacher rt ON rt.run_id = r.id JOIN teacher t ON t.id = rt.teacher_id
CROSS JOIN LATERAL (
    SELECT coalesce(CAST(r.config #>> ARRAY['teachers', CAST(rt.position AS text), 'samples'] AS int), 1) AS samples
) AS asked
WHERE r.id = :run_id
""")

_SCORED = text("""
SELECT count(*) FROM calibration_prompt c
JOIN run_teacher rt ON rt.run_id = c.run_id
JOIN generation g ON g.prompt_id = c.prompt_id AND g.teacher_id = rt.teacher_id AND g.sample_index = 0
JOIN run_scorer rs ON rs.run_id = c.run_id
JOIN scorer s ON s.id = rs.scorer_id AND s.method <> 'imported'
JOIN score x ON x.generation_id = g.id AND x.scorer_id = s.id
WHERE c.run_id = :run_id
""")

_MEANS = text("""
SELECT t.name, avg(g.prompt_tokens)::float8 AS prompt_tokens, avg(g.completion_tokens)::float8 AS completion_tokens,
       avg(g.latency_s) AS seconds
FROM (SELECT teacher_id, prompt_tokens, completion_tokens, latency_s FROM generation
      WHERE origin = 'generated' ORDER BY id DESC LIMIT :newest) AS g
JOIN teacher t ON t.id = g.teacher_id AND t.name = ANY(:names)
GROUP BY t.name
""")


class Sizes(NamedTuple):
    """The numbers that the tables give for a run that is about to start."""

    prompts: int
    with_reference: int
    with_tools: int
    calibration: int
    characters: float  # of a prompt, on average
    calibrated: Mapping[str, int]  # answers of each teacher to calibration prompts that are there already
    others: Mapping[str, float]  # the share of a teacher's answers to the other prompts that is there already
    scored: int  # scores of those answers that are there
    means: Mapping[str, "Means"]


class Means(NamedTuple):
    """An answer of one teacher, on average. None where it is unknown."""

    prompt_tokens: float | None
    completion_tokens: float | None
    seconds: float | None


class Probe(NamedTuple):
    """One tiny answer of a teacher."""

    seconds: float
    tokens: int


class Expected(NamedTuple):
    """The expected cost of one answer of a teacher, in tokens and time."""

    teacher: Teacher
    prompt_tokens: float
    completion_tokens: float
    most_tokens: int
    seconds: float | None

    @property
    def price(self) -> Price | None:
        return self.teacher.endpoint.price if self.teacher.endpoint is not None else None

    def cost(self, answers: float, *, longest: bool = False) -> float | None:
        if self.price is None:
            return None
        written = self.most_tokens if longest else self.completion_tokens
        return answers * (self.prompt_tokens * self.price.input + written * self.price.output) / 1_000_000

    def hours(self, answers: float) -> float | None:
        """By one worker, which keeps as many requests in flight as it may; None where nothing tells the speed."""
        if not answers:
            return 0.0
        if self.seconds is None:
            return None
        endpoint = self.teacher.endpoint
        hours = [answers * self.seconds / (endpoint.concurrency if endpoint is not None else _IN_FLIGHT) / 3600]
        if endpoint is not None and endpoint.requests_per_minute is not None:
            hours.append(answers / endpoint.requests_per_minute / 60)
        if endpoint is not None and endpoint.tokens_per_minute is not None:
            tokens = answers * (self.prompt_tokens + self.completion_tokens)
            hours.append(tokens / endpoint.tokens_per_minute / 60)
        return max(hours)


def sizes(conn: Connection, run_id: int, config: RunConfig) -> Sizes:
    """Read the tables; the run and its calibration sample must stand in them."""
    values = {"run_id": run_id, "looked_at": _LOOKED_AT}
    row = conn.execute(_SIZE, values).one()
    there = conn.execute(_THERE, values).all()
    borrows = config.router.of is not None  # then no more calibration answers are asked for than there are
    names = [teacher.name for teacher in config.teachers]
    means = conn.execute(_MEANS, {"names": names, "newest": _NEWEST})
    return Sizes(
        prompts=row.prompts,
        with_reference=row.with_reference,
        with_tools=row.with_tools,
        calibration=row.calibration,
        characters=float(row.characters or 0),
        calibrated={teacher.name: row.calibration if borrows else teacher.calibrated for teacher in there},
        others={teacher.name: teacher.others or 0.0 for teacher in there},
        scored=conn.execute(_SCORED, {"run_id": run_id}).scalar_one(),
        means={mean.name: Means(mean.prompt_tokens, mean.completion_tokens, mean.seconds) for mean in means},
    )


def expected(config: RunConfig, known: Sizes, probes: Mapping[str, Probe]) -> list[Expected]:
    """The expected answer of each teacher that is asked."""
    return [
        _expected(teacher, known, probes.get(teacher.name)) for teacher in config.teachers if teacher.model is not None
    ]


def _expected(teacher: Teacher, known: Sizes, probe: Probe | None) -> Expected:
    means = known.means.get(teacher.name, Means(None, None, None))
    own = len(teacher.system_prompt or "") + sum(len(message.content) for message in teacher.examples)
    prompt_tokens = (known.characters + own) / _CHARACTERS_A_TOKEN + _TEMPLATE_TOKENS
    longest = teacher.sampling.max_tokens
    completion = means.completion_tokens or min(ASSUMED_TOKENS, longest)
    seconds = means.seconds
    if seconds is None and probe is not None:
        seconds = probe.seconds * max(1.0, completion / max(probe.tokens, 1))
    return Expected(teacher, means.prompt_tokens or prompt_tokens, completion, longest, seconds)


def assumptions(config: RunConfig, known: Sizes, asked: Sequence[Expected], probes: Mapping[str, Probe]) -> list[str]:
    """The guesses in the figures, each as a sentence."""
    names = [one.teacher.name for one in asked]
    measured = [name for name in names if name in known.means]
    guessed = [name for name in names if name not in known.means]
    told = []
    if measured:
        told.append(f"Tokens and time of {', '.join(measured)} are the means of earlier answers.")
    if guessed:
        told.append(
            f"{', '.join(guessed)}: no earlier answer. Assumed are {ASSUMED_TOKENS} tokens an answer (or max_tokens,"
            f" where that is less) and {_CHARACTERS_A_TOKEN} characters a token of the prompt."
        )
    timed = [name for name in guessed if name in probes]
    if timed:
        told.append(f"The speed of {', '.join(timed)} is that of one tiny request, with all that may be in flight.")
    untimed = [one.teacher.name for one in asked if one.seconds is None]
    if untimed:
        told.append(f"The hours are unknown: nothing was measured of {', '.join(untimed)} yet.")
    free = [one.teacher.name for one in asked if one.price is None]
    if free and len(free) < len(asked):
        told.append(f"No price is given for {', '.join(free)}, so the cost is that of the others.")
    for one in asked:
        if one.teacher.samples > 1:
            told.append(f"{one.teacher.name} gives {one.teacher.samples} answers to each prompt that is routed to it.")
    if config.opinions:
        first, second = config.opinions
        told.append(
            f"{first} answers each routed prompt too, for consensus to compare with; {second} those that are routed to"
            f" {first}."
        )
    if config.rerouting is not None and asked:
        most = min(config.rerouting.attempts, len(config.teachers))
        told.append(
            f"Up to {most} teachers are asked where an answer is not good enough; {ASSUMED_BELOW_BAR:.0%} of the"
            " answers are taken not to be. `persyn reroute plan` replays it once the calibration is scored."
        )
    if len(asked) > 1:
        told.append("Each teacher is taken to get the same share of the routed prompts. Scoring takes time as well.")
    return told


def stages(config: RunConfig, known: Sizes, asked: Sequence[Expected]) -> list[StageEstimate]:
    """The work of each stage that asks or scores."""
    new = {one.teacher.name: known.calibration - known.calibrated.get(one.teacher.name, 0) for one in asked}
    wanted = {one.teacher.name: _routed_answers(config, known, one.teacher) / len(asked) for one in asked}
    there = {name: answers * known.others.get(name, 0.0) for name, answers in wanted.items()}
    later = {name: answers - there[name] for name, answers in wanted.items()}
    found = [
        _answers("calibrate", asked, new, sum(known.calibrated.values())),
        _scores("score", config, asked, len(config.teachers) * known.calibration, known.scored, known),
    ]
    if config.router.of is not None:
        found = []
    found.append(_answers("generate", asked, later, round(sum(there.values()))))
    if config.opinions:
        found.append(_opinions(config, known, asked))
    if config.scorers.score == "all":
        answers = round(sum(wanted.values())) if asked else known.prompts - known.calibration
        found.append(_scores("score routed", config, asked, answers, 0, known))
    if config.rerouting is not None and asked:
        further = {name: answers * _further_answers(config) for name, answers in wanted.items()}
        found.append(_answers("reroute", asked, further, 0))
        found.append(_scores("score rerouted", config, asked, round(sum(further.values())), 0, known))
    return found


def _opinions(config: RunConfig, known: Sizes, asked: Sequence[Expected]) -> StageEstimate:
    """A second answer to each routed prompt: by the first teacher of opinion, and by the second to its own prompts."""
    routed = known.prompts - known.calibration
    first, second = config.opinions
    wanted = {first: routed * (1 - 1 / len(asked)), second: routed / len(asked)}
    new = {name: answers * (1 - known.others.get(name, 0.0)) for name, answers in wanted.items()}
    givers = [one for one in asked if one.teacher.name in wanted]
    return _answers("opinions", givers, new, round(routed - sum(new.values())))


def _further_answers(config: RunConfig) -> float:
    """The further answers that a routed prompt is taken to need, by its budget or by the share below the bar."""
    options = config.rerouting
    if options is None:
        return 0.0
    if options.budget is not None and options.price == "answers" and options.per == "prompt":
        return options.budget - 1.0
    most = min(options.attempts, len(config.teachers))
    return float(sum(ASSUMED_BELOW_BAR**further for further in range(1, most)))


def _routed_answers(config: RunConfig, known: Sizes, teacher: Teacher) -> int:
    """The answers to routed prompts if this teacher got them all. A calibration prompt has its first one already."""
    again = known.calibration if config.calibration_answers == "routed" else 0
    return (known.prompts - known.calibration) * teacher.samples + again * (teacher.samples - 1)


def _answers(stage: str, asked: Sequence[Expected], new: Mapping[str, float], there: int) -> StageEstimate:
    numbers = [(one, new[one.teacher.name]) for one in asked]
    costs = [cost for one, count in numbers if (cost := one.cost(count)) is not None]
    hours = [one.hours(count) for one, count in numbers]
    return StageEstimate(
        stage,
        "answers",
        round(sum(count for _, count in numbers)),
        there,
        round(sum(count * one.prompt_tokens for one, count in numbers)),
        round(sum(count * one.completion_tokens for one, count in numbers)),
        None if None in hours else sum(hour or 0.0 for hour in hours),
        sum(costs) if costs else None,
    )


def _scores(
    stage: str, config: RunConfig, asked: Sequence[Expected], answers: int, there: int, known: Sizes
) -> StageEstimate:
    """Judges read the prompt and the answer, and cost; the other scorers run in the workers."""
    scorers = [*config.scorers.quality, *config.measures()]
    count = answers * sum(not isinstance(scorer, Imported) for scorer in scorers) - there
    judges = [scorer for scorer in config.scorers.quality if isinstance(scorer, Judge)]
    written = sum(one.completion_tokens for one in asked) / len(asked) if asked else ASSUMED_TOKENS
    read = _RUBRIC_TOKENS + known.characters / _CHARACTERS_A_TOKEN + written
    prices = [judge.endpoint.price for judge in judges if judge.endpoint.price is not None]
    cost = sum(answers * (read * price.input + _VERDICT_TOKENS * price.output) for price in prices) / 1_000_000
    return StageEstimate(
        stage,
        "scores",
        count,
        there,
        round(answers * read * len(judges)) if judges else None,
        answers * _VERDICT_TOKENS * len(judges) if judges else None,
        None,
        cost if prices else None,
    )


def cost_at_most(config: RunConfig, asked: Sequence[Expected], known: Sizes) -> float | None:
    """The cost if every answer were as long as max_tokens allows and the dearest teacher got all routed prompts."""
    priced = [one for one in asked if one.price is not None]
    if not priced:
        return None
    calibration = [
        one.cost(known.calibration - known.calibrated.get(one.teacher.name, 0), longest=True) for one in priced
    ]
    attempts = 1 if config.rerouting is None else min(config.rerouting.attempts, len(config.teachers))
    givers = [one for one in priced if one.teacher.name in config.opinions]
    opinions = [one.cost(known.prompts - known.calibration, longest=True) or 0.0 for one in givers]
    routed = [one.cost(_routed_answers(config, known, one.teacher), longest=True) or 0.0 for one in priced]
    return sum(cost or 0.0 for cost in calibration) + attempts * max(routed) + max(opinions, default=0.0)


def disk_bytes(known: Sizes, found: Sequence[StageEstimate]) -> int:
    """The growth of the database: rows, their index entries, and the answers' texts."""
    answers = sum(stage.new for stage in found if stage.unit == "answers")
    scores = sum(stage.new for stage in found if stage.unit == "scores")
    written = sum(stage.completion_tokens or 0 for stage in found if stage.unit == "answers")
    jobs = answers + scores
    rows = known.prompts * _DECISION + answers * _ANSWER + scores * _SCORE + jobs * (_JOB + _EVENTS)
    return rows + written * _BYTES_A_TOKEN
