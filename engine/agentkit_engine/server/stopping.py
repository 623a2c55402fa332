"""Stop texts, and words that are told while they are decided on.

Must not know any API, nor what the words are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Told:
    """Words that are told piece by piece: each character once, and none that may yet change.

    Args:
        stop: texts before which the words end.
        tell: is given each further piece; None where nobody listens.
    """

    def __init__(self, stop: Sequence[str], tell: Callable[[str], None] | None) -> None:
        self._stop, self._hear = stop, tell
        self._characters = 0

    def certain(self, text: str) -> None:
        """Tells what is certain to be said, but for what may turn out to begin a stop text."""
        said, by = cut(text, self._stop)
        held = 0 if by else begun(said, self._stop)
        self._tell(said[: len(said) - held])

    def words(self, text: str) -> tuple[str, str | None]:
        """All the words up to the first stop text, and which that is; tells the rest of them."""
        said, by = cut(text, self._stop)
        self._tell(said)
        return said, by

    def whole(self, text: str) -> None:
        """Tells the rest of what no stop text ends."""
        self._tell(text)

    def _tell(self, text: str) -> None:
        if self._hear and len(text) > self._characters:
            self._hear(text[self._characters :])
            self._characters = len(text)


def cut(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """A text up to the first stop text, and which that was.

    The first to come to its end, as somebody who reads on character by character would find it; so
    that what is found in a beginning of the text is found in the whole. Of several that end there,
    the longest.
    """
    ends = [(text.find(one) + len(one), one) for one in stop if one and one in text]
    if not ends:
        return text, None
    end = min(place for place, _ in ends)
    by = max((one for one in stop if one and text[:end].endswith(one)), key=len)
    return text[: end - len(by)], by


def begun(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a stop text."""
    longest = max((len(one) for one in stop), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(one.startswith(text[-size:]) for one in stop):
            return size
    return 0
