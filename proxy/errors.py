"""The error tree. Whose fault it is comes first, because that decides who is told and what is done.

    UnderstudyError
    ├── ConfigError       the owner's file: every mistake at once, each with its path (exit code 2)
    ├── DownstreamError   the client's fault: 4xx, or it is gone
    ├── UpstreamError     a model server's fault, by arm: 502, 503, 504
    ├── DeliveryError     a webhook receiver's fault: retried from the outbox
    ├── AddressError      an address that somebody else listens on (exit code 2)
    └── StoreError        the disk's fault: forbids climbing, never rolling back

Each carries one word of `model.reasons`, the same in metric, log, header and webhook. On the hot path of a worker a
failure is a value (a `Reason`), not an exception: raising costs more than the whole bookkeeping of a request, and a
candidate's failure is evidence, not an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model import Arm
from proxy.model.reasons import STATUS, Reason


class UnderstudyError(Exception):
    """The root: everything that Understudy raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a configuration: where, what was found, what would be right. `line` counts from 1, 0: unknown.

    >>> print(Mistake("server.workrs", "unknown key", "did you mean `workers`?", 3))
    line 3: server.workrs: unknown key (did you mean `workers`?)
    >>> print(Mistake("upstreams.a\\nb", "unfit"))  # what cannot be printed moves no cursor
    upstreams.a\\nb: unfit
    """

    path: str
    problem: str
    hint: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        path = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in self.path)
        return f"{where}{path}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(UnderstudyError):
    """A configuration that cannot be used; holds every mistake, not only the first."""

    def __init__(self, mistakes: list[Mistake], source: str = "configuration") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {m}" for m in mistakes)]))


class DownstreamError(UnderstudyError):
    """The client's fault; `status` is the answer it gets."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.status = STATUS[reason]
        super().__init__(detail or reason.value)


class UpstreamError(UnderstudyError):
    """A model server's fault."""

    def __init__(self, arm: Arm, reason: Reason, detail: str = "") -> None:
        self.arm = arm
        self.reason = reason
        self.status = STATUS.get(reason, 502)
        super().__init__(detail or f"{arm}: {reason.value}")


class DeliveryError(UnderstudyError):
    """A webhook could not be delivered; `retry_after` is what the receiver asked for, seconds."""

    def __init__(self, detail: str, *, retry_after: float | None = None, final: bool = False) -> None:
        self.retry_after = retry_after
        self.final = final
        super().__init__(detail)


class AddressError(UnderstudyError):
    """An address that cannot be listened on; names it."""


class StoreError(UnderstudyError):
    """State could not be saved or read."""
