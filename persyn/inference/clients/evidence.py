"""Evidence on whose fault a failed request is: the prompt's, or that of the endpoint that it was sent to. Pure.

A request that was sent later and is answered clears the endpoint: key, model and server were well, so the prompt is at
fault. Where none is answered, a harmless one included, the endpoint is. One that refuses requests as bad is cleared by
any answer at all: the form that it takes does not change, while a key or a server may go bad at any moment.
"""

import math

# So many requests may be sent to see whether a failure is one of many.
ENOUGH = 3
# The harmless request to a teacher, and the answer to it that a scorer is asked about.
HARMLESS = [{"role": "user", "content": "Please answer with the word yes."}]
HARMLESS_ANSWER = "Yes."


class Evidence:
    """The answers of one endpoint to one worker. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._last_sent_at = -math.inf  # of the request that was sent last among those that were answered
        self.answers = 0  # since the endpoint was last held back

    def answered(self, sent_at: float) -> None:
        self._last_sent_at = max(self._last_sent_at, sent_at)
        self.answers += 1

    def clears(self, code: str, sent_at: float) -> bool:
        """Whether the endpoint is not to blame for a failure of what was sent at `sent_at`."""
        return self.answers > 0 if code == "bad_request" else self._last_sent_at >= sent_at

    def held_back(self) -> None:
        """Begin anew: the endpoint was held back, and earlier answers say nothing of how it will be then."""
        self.answers = 0
