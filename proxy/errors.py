"""The error tree. Whose fault it is comes first, because that decides who is told and what is done.

    UnderstudyError
    ├── ConfigError     the owner's file: every mistake at once, each with its path (exit code 2)
    ├── AddressError    an address that somebody else listens on (exit code 2)
    └── StoreError      the disk's fault: forbids climbing, never rolling back

What fails of a request or a delivery is no exception but a value, a `model.reasons.Reason`, the same word in metric,
log, header and webhook: raising costs more than the whole bookkeeping of a request, and a candidate's failure is
evidence.
"""

from __future__ import annotations

from dataclasses import dataclass


class UnderstudyError(Exception):
    """The root: everything that Understudy raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a configuration: where, what was found, what would be right. `line` counts from 1, 0: unknown;
    `file` names an included file and is empty for the main one.

    >>> print(Mistake("server.workrs", "unknown key", "did you mean `workers`?", 3))
    line 3: server.workrs: unknown key (did you mean `workers`?)
    >>> print(Mistake("upstreams.a\\nb", "unfit"))  # what cannot be printed moves no cursor
    upstreams.a\\nb: unfit
    >>> print(Mistake("routes[0].live", "is missing", line=4, file="teams/credit.yaml"))
    teams/credit.yaml, line 4: routes[0].live: is missing
    """

    path: str
    problem: str
    hint: str = ""
    line: int = 0
    file: str = ""

    def __str__(self) -> str:
        where = ", ".join(filter(None, (self.file, f"line {self.line}" if self.line else "")))
        where = f"{where}: " if where else ""
        path = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in self.path)
        return f"{where}{path}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(UnderstudyError):
    """A configuration that cannot be used; holds every mistake, not only the first."""

    def __init__(self, mistakes: list[Mistake], source: str = "configuration") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {m}" for m in mistakes)]))


class AddressError(UnderstudyError):
    """An address that cannot be listened on; names it."""


class StoreError(UnderstudyError):
    """State could not be saved or read."""
