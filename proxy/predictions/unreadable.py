"""The one exception of this room."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.model.reasons import Reason

MAX_DETAIL = 240
"""Characters of a detail; names in it come from answers, which may be hostile."""


class Unreadable(Exception):  # noqa: N818 - it names a state of the answer, not an error of the program
    """Bytes that are no prediction: one reason word, and one sentence in words that a person understands."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…"
        super().__init__(self.detail)


class Rounded(Unreadable):
    """A label that is a whole number beyond 64 bits, which has been read as a double: to be read again, exactly."""

    def __init__(self, value: float) -> None:
        super().__init__(Reason.BAD_TYPE, f"{value:g} has more than 64 bits and was rounded")


def names(found: Iterable[object], most: int = 5) -> str:
    """Names for a sentence, quoted, at most `most` of them.

    >>> names(["a", "b"]), names([]), names("abcdefg", 2)
    ('`a`, `b`', 'nothing', '`a`, `b` and 5 more')
    """
    every = list(found)
    if not every:
        return "nothing"
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(f"`{str(name)[:40]}`" for name in every[:most]) + more
