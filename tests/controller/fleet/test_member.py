"""Promise: what the election asks for is done in order, by one session, and a store that fails ends no loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from proxy.controller.fleet.events import Leader
from proxy.controller.fleet.member import Member
from proxy.controller.store.postgres.lease import LeaseRow
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError
from tests.controller.controllers import eventually

DEADLINE = 20.0


class Store:
    """A lease that several members share, and what may be wrong with it."""

    def __init__(self) -> None:
        self.term, self.holder = 0, ""
        self.down = False
        self.sessions: list[FakeSession] = []
        self.released: list[int] = []

    async def connect(self, former: Session | None) -> Session:
        if self.down:
            raise StoreError("nobody answers")
        self.sessions.append(FakeSession())
        return self.sessions[-1]  # type: ignore[return-value]

    def end_sessions(self) -> None:
        for session in self.sessions:
            session.terminate("the server went away")


class FakeSession:
    def __init__(self) -> None:
        self.ended, self.why = asyncio.Event(), ""

    def terminate(self, why: str) -> None:
        self.why = why
        self.ended.set()

    async def close(self) -> None:
        self.terminate("closed")


class Part:
    """A replica that only notes what it is told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails = False

    async def lead(self, session: Session, term: int) -> None:
        self.done.append(f"lead {term}")
        if self.fails:
            raise StoreError("cannot be read")

    async def go_on(self, session: Session, term: int) -> None:
        self.done.append(f"go on {term}")

    async def stop(self) -> None:
        self.done.append("stop")

    async def hand_over(self) -> None:
        self.done.append("hand over")

    def follow(self, leader: Leader | None) -> None:
        self.done.append(f"follow {leader.name if leader else None}")

    def followers(self) -> frozenset[str]:
        return frozenset()


class FakeLease:
    def __init__(self, found: Store, session: FakeSession) -> None:
        self._found, self._session = found, session

    def _ask(self) -> None:
        if self._session.ended.is_set():
            raise StoreError(self._session.why)

    async def look(self) -> LeaseRow:
        self._ask()
        return LeaseRow(self._found.term, self._found.holder, "10.0.0.1:9091", 5.0 if self._found.holder else -1.0)

    async def take(self, seen: int, holder: str, address: str, lease: float) -> int | None:
        self._ask()
        if self._found.holder not in ("", holder):
            return None
        self._found.term, self._found.holder = max(self._found.term, seen) + 1, holder
        return self._found.term

    async def renew(self, term: int) -> bool:
        self._ask()
        return self._found.term == term

    async def release(self, term: int) -> None:
        self._ask()
        self._found.released.append(term)
        self._found.holder = ""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A lease in memory in the place of the one in PostgreSQL."""
    found = Store()

    monkeypatch.setattr("proxy.controller.fleet.member.Lease", partial(FakeLease, found))
    return found


@asynccontextmanager
async def member(store: Store, part: Part, lease: float = 30.0) -> AsyncIterator[Member]:
    one = Member("a", "1", "10.0.0.1:9091", lease, store.connect, part)
    running = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.drain()
        await asyncio.wait_for(running, DEADLINE)


async def test_it_leads_hands_over_and_lets_go(store: Store) -> None:
    part = Part()
    async with member(store, part) as it:
        await eventually(lambda: part.done == ["lead 1"])
        assert it.may_act()
        assert it.leader() is not None
    assert part.done == ["lead 1", "hand over"]
    assert store.released == [1]
    assert all(session.ended.is_set() for session in store.sessions)


async def test_a_store_that_comes_back_finds_its_leader_in_the_next_term(store: Store) -> None:
    part = Part()
    async with member(store, part) as it:
        await eventually(lambda: part.done)
        since = it.leads_since
        store.down = True
        store.end_sessions()
        await eventually(lambda: it.election.state == "ADRIFT" and it.trouble == "nobody answers")
        assert it.may_act()
        store.down = False
        await eventually(lambda: part.done[-1] == "go on 2")
        assert it.leads_since == since > 0.0, "it never stopped"


async def test_who_is_overtaken_stops_before_it_follows(store: Store) -> None:
    part = Part()
    async with member(store, part) as it:
        await eventually(lambda: part.done)
        store.term, store.holder = 2, "b#1"
        store.end_sessions()
        await eventually(lambda: part.done[-1] == "follow b")
        assert not it.may_act()
        assert part.done == ["lead 1", "follow None", "stop", "follow b"]
    assert store.released == [], "it has nothing to let go of"


async def test_who_cannot_build_its_controller_lets_go_of_its_term(store: Store) -> None:
    part = Part()
    part.fails = True
    async with member(store, part):
        await eventually(lambda: store.released)
        assert part.done[:3] == ["lead 1", "follow None", "stop"]
        part.fails = False
        await eventually(lambda: part.done[-1].startswith("lead "))


async def test_a_higher_term_that_a_worker_has_seen_ends_a_leadership_and_begins_one_above_it(store: Store) -> None:
    part = Part()
    async with member(store, part) as it:
        await eventually(lambda: part.done)
        it.term_seen(7)
        await eventually(lambda: part.done[-1] == "lead 8")
