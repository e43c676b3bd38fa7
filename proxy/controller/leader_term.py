"""In whose name a controller speaks: the term it leads in, and whether it still may."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.model import Table

MOST_TOLD = 10_000
"""Workers of which is known that they were told; the first of more are forgotten."""


class LeaderTerm:
    """`number` is 0 for a controller that has a store of its own. `may_act` says whether it may decide and tell
    workers: in a fleet another one may lead since a moment ago.

    `told` are the workers that know it of this term. One that is gone stays among them: when only its replica's
    controller is another one, it comes back with the table that it was given."""

    def __init__(self) -> None:
        self.number = 0
        self.may_act: Callable[[], bool] = lambda: True
        self.told: dict[str, None] = {}

    def begin(self, number: int, told: Iterable[str] = ()) -> None:
        """Lead in this term, of which these workers are told now."""
        self.number, self.told = number, dict.fromkeys(told)

    def tell(self, worker: str) -> None:
        """This worker is told of the term now."""
        self.told[worker] = None
        if len(self.told) > MOST_TOLD:
            del self.told[next(iter(self.told))]

    def is_outranked_by(self, worker: str, table: Table) -> bool:
        """Whether a worker holds a table of a later leader, or of another one of this term: a store that has failed
        over may give a term twice.

        >>> term = LeaderTerm()
        >>> term.begin(3, ["a"])
        >>> [term.is_outranked_by(worker, Table(1, term=n)) for worker, n in (("a", 3), ("b", 3), ("b", 2), ("a", 4))]
        [False, True, False, True]
        """
        return table.term > self.number or (table.term == self.number > 0 and worker not in self.told)
