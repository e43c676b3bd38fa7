"""A replica's part in its fleet, carried out: `election` decides, this asks the store and tells the replica.

One session with the store at a time; it is the leadership, and the leader's store writes over it. What is asked of the
store is one thing at a time; what the replica does (to lead, to stop) is done one thing after the other, so that a
controller has ended before the next one begins.

Invariants
- `may_act` is asked of the clock each time: between two turns of the loop a process may have been stopped for an hour.
- What the store does not answer within a third of the lease is no answer, and the session ends.
- Whatever goes wrong ends a leadership, never this loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from proxy import logs
from proxy.controller.fleet import election as rules
from proxy.controller.fleet.election import EVENTS, QUIET, Election
from proxy.controller.fleet.events import (
    Alone,
    Away,
    Cut,
    Drain,
    Failed,
    FleetEvent,
    Heard,
    Leader,
    Renewed,
    Row,
    Taken,
    TermSeen,
    Tick,
)
from proxy.controller.store.postgres.lease import Lease
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError, UnderstudyError

log = logging.getLogger("understudy.fleet")

TICK = 0.1
"""Seconds between two looks at the time."""
LAST = 3.0
"""Seconds that the store may take to hear that a leader leaves."""

_LEVELS = {"ADRIFT": logging.ERROR, "STANDBY": logging.WARNING}


def boottime() -> float:
    """Seconds of a clock that goes on while the machine sleeps, which `CLOCK_MONOTONIC` does not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Part(Protocol):
    """What a replica does. Coroutines are awaited one after the other; `lead` is called of one that stands by."""

    async def lead(self, session: Session, term: int) -> None:
        """Stand by no more: build the controller over this session. Raises `UnderstudyError` when it cannot."""

    async def go_on(self, session: Session, term: int) -> None:
        """The controller that there is writes over this session from now on, in this term."""

    async def stop(self) -> None:
        """End the controller at once, unsaved, and stand by again."""

    async def hand_over(self) -> None:
        """End the controller with all that is in hand judged and saved."""

    def follow(self, leader: Leader | None) -> None:
        """Pass the workers' links on to this leader, or to nobody."""

    def followers(self) -> frozenset[str]:
        """Replicas that follow this one now."""


class Member:
    """`name` is the replica's in its fleet, `incarnation` its process', `address` where its links are taken.

    `connect` opens a session with the store, given the last one of this process.
    """

    def __init__(
        self,
        name: str,
        incarnation: str,
        address: str,
        lease: float,
        connect: Callable[[Session | None], Awaitable[Session]],
        part: Part,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.name, self._address, self._connect, self._part, self._clock = name, address, connect, part, clock
        self.election = Election(f"{name}#{incarnation}", lease)
        self.since = time.time()
        """When it came into its state, epoch seconds."""
        self.trouble = ""
        """Why the store does not answer; empty when it does."""
        self._session: Session | None = None
        self._lease: Lease | None = None
        self._asking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._duties: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._known: frozenset[str] = frozenset()
        self._short_since: float | None = None
        self.leads_since = 0.0
        """When it began to lead, whatever became of its lease since then, epoch seconds; 0 before."""

    # --- what others ask ---------------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this replica leads."""
        return self.election.leads

    def may_act(self) -> bool:
        """Whether its controller may judge and tell workers, now."""
        return self.election.may_act(self._clock())

    def leader(self) -> tuple[str, str, int, float] | None:
        """Who leads, as far as is known here: name, address of its links, term, since when (epoch seconds)."""
        if self.leads:
            return self.name, self._address, self.election.term, self.leads_since
        found = self.election.leader
        if found is None:
            return None
        return found.name, found.address, found.term, time.time() - (self._clock() - found.since)

    # --- what happens ------------------------------------------------------------------------------------------------

    def heard(self) -> None:
        """The leader was heard over its link."""
        self._happens(Heard(self._clock()))

    def cut(self) -> None:
        """The link to the leader has ended, or could not be made."""
        self._happens(Cut(self._clock()))

    def term_seen(self, term: int) -> None:
        """A worker or a replica knows another leader of this term."""
        self._happens(TermSeen(self._clock(), term))

    def drain(self) -> None:
        """Leave: who leads hands over."""
        self._happens(Drain(self._clock()))

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take part until told to drain, and what that asks for is done."""
        working = asyncio.create_task(self._work())
        try:
            while self.election.state != "LEFT":
                self._wake.clear()
                self._count_followers()
                self._happens(Tick(self._clock()))
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK):
                        await self._wake.wait()
            if self._asking is not None:
                await self._asking
            await self._duties.join()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            if self._session is not None:
                await self._session.close()

    def _happens(self, event: FleetEvent) -> None:
        before = self.election
        self.election, actions = rules.step(before, event)
        if self.election.state != before.state:
            self._changed(before)
        for action in actions:
            self._act(action, before)
        if not isinstance(event, Tick):
            self._wake.set()

    def _changed(self, before: Election) -> None:
        now = self.election
        if "TAKING" in (now.state, before.state) and now.state != "LEADING":
            return  # most tries are in vain
        self.since = time.time()
        if now.state == "LEADING" and not before.leads:
            self.leads_since = self.since
        fields = {"replica": self.name, "term": now.term or before.term, "was": before.state, "why": EVENTS[now.why]}
        logs.event(log, f"fleet.{now.state.lower()}", _LEVELS.get(now.state, logging.INFO), **fields)

    def _act(self, action: str, before: Election) -> None:
        now = self.election
        match action:
            case "look" | "take" | "renew":
                self._asking = asyncio.create_task(self._ask(action))
            case "follow":
                self._part.follow(now.leader)
            case "lead":
                self._duties.put_nowait(lambda: self._lead(now.term))
            case "go_on":
                self._duties.put_nowait(lambda: self._go_on(now.term))
            case "stop":
                self._part.follow(None)
                self._duties.put_nowait(self._part.stop)
            case "hand_over":
                self._duties.put_nowait(self._part.hand_over)
            case "release":
                self._duties.put_nowait(lambda: self._release(now.term or before.term))

    def _count_followers(self) -> None:
        """Whether a majority of those that followed when the store was last heard still does, for a while."""
        follow, now = self._part.followers(), self._clock()
        if self.election.state != "ADRIFT":
            self._known, self._short_since = follow, None
        elif 2 * (len(follow & self._known) + 1) > len(self._known) + 1:
            self._short_since = None
        else:
            self._short_since = now if self._short_since is None else self._short_since
            if now - self._short_since >= QUIET:
                self._happens(Alone(now))

    # --- the store ---------------------------------------------------------------------------------------------------

    async def _ask(self, action: str) -> None:
        """Ask the store one thing; exactly one event comes of it."""
        event: FleetEvent
        try:
            event = await self._answer(action)
            self.trouble = ""
        except (StoreError, TimeoutError) as error:
            self._away(str(error) or "no answer in time")
            event = Away(self._clock())
        except Exception as bug:  # nor may a bug end the loop, or hide: without an answer nobody leads
            logs.unexpected(log, "fleet.broke")
            self._away(repr(bug))
            event = Away(self._clock())
        self._asking = None
        self._happens(event)

    async def _answer(self, action: str) -> FleetEvent:
        lease = await self._at_hand()
        now = self.election
        sent = self._clock()
        async with asyncio.timeout(now.lease / 3 if action == "renew" else None):
            if action == "renew":
                ok = await lease.renew(now.term)
                return Renewed(self._clock(), sent, ok)
            if action == "take":
                term = await lease.take(now.seen, now.me, self._address, now.lease)
                return Taken(self._clock(), sent, term)
            row = await lease.look()
            return Row(self._clock(), row.term, row.holder, row.address, row.seconds_left)

    async def _at_hand(self) -> Lease:
        """The lease over the session there is, or over a new one."""
        if self._session is None or self._session.ended.is_set() or self._lease is None:
            self._session = await self._connect(self._session)
            self._lease = Lease(self._session)
            self._watching = asyncio.create_task(self._watch(self._session))
        return self._lease

    async def _watch(self, session: Session) -> None:
        """Hear at once of the end of a session on which nothing is asked just now."""
        await session.ended.wait()
        if session is self._session and self._asking is None and self.election.state != "LEFT":
            self._away(session.why)
            self._happens(Away(self._clock()))

    def _away(self, why: str) -> None:
        if self._session is not None and not self._session.ended.is_set():
            self._session.terminate(why)
        if why != self.trouble:
            logs.event(log, "fleet.store_away", logging.WARNING, replica=self.name, why=why)
        self.trouble = why

    # --- what the replica does ---------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            duty = await self._duties.get()
            try:
                await duty()
            except Exception as error:
                if isinstance(error, UnderstudyError):
                    logs.event(log, "fleet.failed", logging.ERROR, replica=self.name, error=str(error))
                else:
                    logs.unexpected(log, "fleet.broke")
                self._happens(Failed(self._clock()))
            finally:
                self._duties.task_done()

    async def _lead(self, term: int) -> None:
        if self._session is not None and self.election.term == term:  # else another duty follows that undoes this one
            await self._part.lead(self._session, term)

    async def _go_on(self, term: int) -> None:
        if self._session is not None and self.election.term == term:
            await self._part.go_on(self._session, term)

    async def _release(self, term: int) -> None:
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(LAST):
                await self._lease.release(term)
        except (StoreError, TimeoutError) as error:
            logs.event(log, "fleet.not_released", logging.WARNING, replica=self.name, error=str(error))
