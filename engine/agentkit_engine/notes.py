"""Notes on errors: which of the things that were asked for together one is about.

Knows how a note reads, so that who reads it knows it again. Must not know errors.
"""

ANSWER_NOTE = "This is about the answer."
"""What is noted of an error in an answer's schema."""


def arguments_note(name: str) -> str:
    """What is noted of an error in the schema of a call's arguments."""
    return f"This is about the arguments of {name!r}."
