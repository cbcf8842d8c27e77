"""Quality of a mathematical answer: 1 if its final answer equals the reference, 0 if not, none where nobody can tell.

The comparison runs in the child process of `checker`.
"""

from persyn.errors import JobFailed
from persyn.rewards.measurement import Measurement
from persyn.rewards.quality.checker import the_checker


def math_verify_score(answer: str, reference: str) -> Measurement | JobFailed:
    """Compare the final answer in a text with the reference: 1.0 or 0.0. Only the last 4,000 characters are read.

    JobFailed `unchecked`: the two cannot be compared, or comparing them ran over its time (5 s) or memory (4 GiB).

    detail["basis"], how the answer was found: `boxed`, `stated` ("the answer is"), `bold`, `sentence` (the last one
    asserts it), `nothing` (none was found); or a guess: `last_in_sight` of several values, or compared as `text`.

    Never raises for what the texts say. Raises ServerError if the child process cannot start.
    """
    verdict = the_checker.ask("check", answer, reference)
    if verdict["value"] is None:
        message = f"The answer cannot be compared with the reference answer: {verdict['reason']}."
        return JobFailed("unchecked", message, permanent=True)
    return Measurement(verdict["value"], verdict["detail"])
