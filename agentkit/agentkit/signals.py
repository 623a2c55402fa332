"""What tools, validators and guards raise to tell the loop what to do next.

Knows nothing of runs. None of these is an error of the loop: see `agentkit.errors`.
"""

from __future__ import annotations


class Retry(Exception):
    """The call or the answer won't do; says why, and which value is to blame.

        raise Retry("there is no flight on that day", value="/day")

    value: a JSON pointer, or the name of an argument. Where the backend can (see
    `Capabilities.refill`), that value alone is filled in again, by one forward, and the call is
    made with it; without a value, or elsewhere, the model reads why and decides anew.
    """

    def __init__(self, why: str, *, value: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.value = value


class Deferred(Exception):
    """The call is finished elsewhere: the run pauses until it is resumed with the outcome.

    note: for whoever finishes it, a ticket's number say; JSON-like, kept with the pending call.
    """

    def __init__(self, note: str = "") -> None:
        super().__init__(note)
        self.note = note
