"""One link of one worker on its way through a standby: bytes up, tables down, and nothing else.

Invariant: of both its ends neither outlives the other. What the worker wrote before it ended still goes up; what the
leader never took is found missing by the worker's next report.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from proxy import logs
from proxy.controller.fleet.dialling import LeaderAddress, LeaderLink, dial
from proxy.pairs import link, replicas
from proxy.pairs.channel import MAX_WAITING, Channel
from proxy.pairs.gate import FrameGate
from proxy.pairs.link import Frame, LinkError
from proxy.pairs.replicas import ReplicaHello

log = logging.getLogger("understudy.relay")

LINK_TROUBLE = (OSError, TimeoutError, LinkError)
"""What a connection to a leader may end in."""

GATES: dict[str, tuple[set[Frame], set[Frame]]] = {
    "pairs": ({Frame.HELLO, Frame.COUNTS, Frame.REQUESTS}, {Frame.REQUESTS}),
    "tables": ({Frame.HELLO, Frame.ACK}, set()),
}
"""By kind of link what is noted, and what of that stays here."""


class Notes(Protocol):
    """Who is told of what passes."""

    def passes(self, one: Passing, kind: Frame, payload: bytes) -> None:
        """A frame that is noted; raises `LinkError` when it is not one."""

    def over(self, one: Passing) -> None:
        """Both ends are closed, or being closed."""


class Passing(asyncio.Protocol):
    """The worker's end of a link of this `kind`, `pairs` or `tables`; `me` says whose it is, `worker` is called so who
    has said HELLO on it."""

    def __init__(
        self, kind: str, to: LeaderAddress, me: ReplicaHello, notes: Notes, clock: Callable[[], float]
    ) -> None:
        self.kind, self.worker = kind, ""
        self._to, self._me, self._notes, self._clock = to, me, notes, clock
        self._gate = FrameGate(*GATES[kind])
        self._near: asyncio.Transport | None = None
        self._leader: LeaderLink | None = None
        self._opening: asyncio.Task[None] | None = None
        self._ping: tuple[bytes, float] | None = None  # what is to be answered, and when it came
        self._early: list[bytes] = []  # what was read before the leader was there
        self._ending = False
        self.ended = asyncio.Event()

    # --- the worker's end --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._near = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of asyncio's
        if self._ending:  # between being accepted and this: nobody else would ever close it
            self._near.abort()
            return
        self._near.pause_reading()
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            self._leader, _ = await dial(self._to, self._me, self._from_leader, self._leader_lost, self._full)
        except LINK_TROUBLE:  # the replica's own link says why
            self._end()
            return
        early, self._early = b"".join(self._early), []
        if early:
            self.data_received(early)
        if self._near is not None and not self._near.is_closing():
            self._near.resume_reading()

    def data_received(self, data: bytes) -> None:
        leader = self._leader
        if leader is None:  # uvloop reads once more, whatever it was told as the connection was made
            self._early.append(data)
            if self._near is not None:
                self._near.pause_reading()
            return
        try:
            parts, notes = self._gate.feed(data)
            leader.pass_on(parts)
            self._answer()
            for kind, payload in notes:
                self._notes.passes(self, kind, payload)
        except LinkError as error:
            logs.event(log, "relay.garbage", logging.ERROR, link=self.kind, error=str(error))
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._near = None
        self._end()

    # --- the leader's end --------------------------------------------------------------------------------------------

    def _from_leader(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        near = self._near
        if kind is Frame.PING:
            self._ping = payload, self._clock()
            self._answer()
        elif self.kind == "tables" and kind in (Frame.TABLE, Frame.ALIVE) and near is not None:
            near.write(link.frame(kind, payload))
            if near.get_write_buffer_size() > MAX_WAITING:  # it takes the table up when it comes back
                near.abort()
        elif near is not None:
            raise LinkError(f"{kind.name} from the leader on the link for {self.kind}")

    def _answer(self) -> None:
        """Answer a PING, where no frame of the worker is under way."""
        if self._ping is not None and self._leader is not None and not self._gate.amid:
            payload, came = self._ping
            self._ping = None
            self._leader.send(replicas.encode_pong(payload, came, self._clock()))

    def _leader_lost(self, channel: Channel) -> None:
        self._end()

    def _full(self, full: bool) -> None:
        if (near := self._near) is not None and not near.is_closing():
            near.pause_reading() if full else near.resume_reading()

    @property
    def waiting(self) -> int:
        """Bytes that wait for the leader here."""
        return self._leader.waiting if self._leader is not None else 0

    @property
    def owes(self) -> bool:
        """Whether a PING waits for the end of a frame."""
        return self._ping is not None

    # --- both --------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Let go of both ends; what was read of the worker is still written."""
        if self._ending:
            return
        self._ending = True
        if self._near is not None:
            self._near.abort()
        if self._leader is not None and not self._leader.ended:
            self._leader.hand_to(lambda *_: None, lambda _: self._over())
            self._leader.close()
            return
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()
        self._over()

    def _over(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._notes.over(self)

    def close(self) -> None:
        """End it from here."""
        self._end()

    def abort(self) -> None:
        """End it now, whatever still waits."""
        if self._leader is not None:
            self._leader.abort()
        self._end()
