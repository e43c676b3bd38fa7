"""The two sockets that workers connect to: pairs come in on one, routing tables go out on the other.

They are apart so that a table never queues behind pairs. A worker may come, go and come back on each at any time; here
it is one `WorkerConnection` per incarnation (a process), whatever its connections do.

In a fleet the workers of other replicas come over TCP (`fleet.links`), each connection of one replica: its workers are
called `replica/worker`, and slots and processes are told apart by replica.

Invariants
- Nothing is expected any more of a worker only when its replica's process list says so, or its replica has been
  away for `AWAY`: of one that is cut off nobody knows what it still has.
- Nothing here blocks and nothing is kept for a worker that is away: it gets the present table when it says HELLO.
- `publish` writes to every connected worker before it returns; `acknowledged` then waits, with a deadline.
- A peer that speaks anything but frames of its link is disconnected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from proxy.controller.fleet.clock import ClockOffset
from proxy.model import Observation, Pair, Table
from proxy.pairs import link, request_log
from proxy.pairs.channel import Channel
from proxy.pairs.exposed import Exposed, decode_exposed
from proxy.pairs.link import Frame, LinkError
from proxy.pairs.request_log import RequestEntry

AWAY = 600.0
"""Seconds after which a replica that is cut off, or has never been heard of, is taken for gone."""

MOST_GONE = 1000
"""Replicas that are gone of which that is known."""

_PAIR = Frame.PAIR  # looking up a member of an enum costs 0.1 µs in Python 3.11


@dataclass(slots=True)
class WorkerConnection:
    """One worker process. `acked` is the last table it has acknowledged (on this connection), -1 before the
    first."""

    name: str
    slot: int
    pid: int
    replica: str = ""
    pairs: Channel | None = None
    tables: Channel | None = None
    acked: int = -1
    trials: dict[int, str] = field(default_factory=dict)
    clock: ClockOffset | None = None
    """Where its clock is not ours."""

    @property
    def late(self) -> float:
        """Seconds by which its clock is ahead of ours, as far as that is known."""
        return self.clock.correction if self.clock is not None else 0.0

    @property
    def told(self) -> bool:
        """Whether it is connected and a routing table is in force there."""
        return self.connected and self.acked >= 0

    @property
    def connected(self) -> bool:
        """Whether both links are up."""
        return self.pairs is not None and self.tables is not None


class WorkerEvents(Protocol):
    """Called for what workers send. All calls come on the event loop and must be quick."""

    def on_observation(self, observation: Observation) -> None:
        """A request of a route as a worker has seen it, for `drift`."""

    def on_pair(self, pair: Pair) -> None:
        """A pair arrived."""

    def on_mark(self, worker: str, trial: str, sequence: int) -> None:
        """Every sequence of `trial` below `sequence` is settled in this worker."""

    def on_counts(self, worker: str, counts: dict[str, Any]) -> None:
        """A worker's totals."""

    def on_exposed(self, trial: str, exposed: Exposed) -> None:
        """Users of a trial whom the draw has put on an arm."""

    def on_entries(self, entries: list[RequestEntry]) -> None:
        """What became of some requests, for traces and the access log."""

    def on_hello(self, worker: WorkerConnection, hello: dict[str, Any]) -> None:
        """A worker connected its table link and awaits the present table."""

    def on_gone(self, worker: str) -> None:
        """A worker was replaced by a new process in its slot: nothing more will come from it."""

    def latency_block(self, trial: str) -> float:
        """Seconds of a block of latency evidence of this trial; 0 without blocks, or such a trial."""


class WorkerConnections:
    """Both sockets and the workers behind them."""

    def __init__(self, listener: WorkerEvents) -> None:
        self._listener = listener
        self.workers: dict[str, WorkerConnection] = {}
        self.replica = ""
        """What this replica is called in its fleet; empty where there is none."""
        self.untimed: dict[str, int] = {}
        """Pairs by trial whose times say nothing, for want of knowing their replica's clock."""
        self.ponged: Callable[[Channel, bytes], None] = lambda *_: None
        """Told of each PONG on a link for pairs."""
        self._began = time.monotonic()
        self._pids: dict[str, frozenset[int | None]] = {}  # by replica
        self._clocks: dict[str, ClockOffset] = {}
        self._of: dict[Channel, WorkerConnection] = {}
        self._from: dict[Channel, str] = {}  # of links over TCP, whose they are
        self._nameless: set[Channel] = set()
        self._stopped = False
        self._servers: list[asyncio.AbstractServer] = []
        self._changed = asyncio.Event()

    async def start(self, runtime: Path) -> None:
        """Listen on `pairs.sock` and `tables.sock` in the runtime directory; a socket file left behind is replaced."""
        loop = asyncio.get_running_loop()
        for name, heard in (("pairs.sock", self._pairs_frame), ("tables.sock", self._tables_frame)):
            path = runtime / name
            path.unlink(missing_ok=True)
            self._servers.append(await loop.create_unix_server(self._factory(heard), str(path)))

    def _factory(self, heard: Callable[[Channel, Frame, bytes], None]) -> Callable[[], Channel]:
        return lambda: Channel(heard, self._closed, self._opened)

    def _opened(self, channel: Channel) -> None:
        """One that has not said who it is yet; it may have been accepted before the end, and be made after it."""
        if self._stopped:
            channel.abort()
        else:
            self._nameless.add(channel)

    def set_clock(self, replica: str, clock: ClockOffset) -> None:
        """What is known of the clock of another replica, from now on."""
        self._clocks[replica] = clock
        for worker in self.workers.values():
            if worker.replica == replica:
                worker.clock = clock

    def join(self, channel: Channel, replica: str, kind: str) -> None:
        """A link of another replica's worker, `pairs` or `tables`: the next frame is its HELLO."""
        self._from[channel] = replica
        channel.hand_to(self._pairs_frame if kind == "pairs" else self._tables_frame, self._closed)

    def brings_pairs(self, channel: Channel) -> bool:
        """Whether it is the link for pairs of a worker that has said who it is."""
        worker = self._of.get(channel)
        return worker is not None and worker.pairs is channel

    async def stop(self) -> None:
        """Close both sockets and every connection."""
        for server in self._servers:
            server.close()
        self._stopped = True
        for channel in {*self._of, *self._from, *self._nameless}:
            channel.close()

    def hold_up(self, pause: bool) -> None:
        """Read no pairs for now, or go on: what workers cannot send they drop and count."""
        for worker in self.workers.values():
            if worker.pairs is not None:
                worker.pairs.hold_up(pause)

    # --- coming and going --------------------------------------------------------------------------------------------

    def _greet(self, channel: Channel, payload: bytes) -> tuple[WorkerConnection, dict[str, Any]]:
        hello = link.read_note(payload)
        try:
            name, slot, pid = str(hello["worker"]), int(hello["slot"]), int(hello["pid"])
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"not a hello: {error!r}") from None
        replica = self._from.get(channel, self.replica)
        name = f"{replica}/{name}" if replica else name
        worker = self.workers.get(name)
        if worker is None:
            here = self._pids.get(replica, frozenset())  # two share a slot while one hands over to the other
            for other in [w for w in self.workers.values() if (w.replica, w.slot) == (replica, slot)]:
                if other.pid not in here:
                    self.drop(other.name)
            worker = self.workers[name] = WorkerConnection(name, slot, pid, replica)
            worker.clock = self._clocks.get(replica)
        self._of[channel] = worker
        self._nameless.discard(channel)
        return worker, hello

    def expect(self, pids: Iterable[int | None], replica: str | None = None) -> None:
        """The word of a replica's supervisor (this one's where none is named) on which worker processes it has (`None`:
        one that is not running now). Those that are not among them are gone for good."""
        replica = self.replica if replica is None else replica
        self._pids[replica] = frozenset(pids)
        for worker in list(self.workers.values()):
            if worker.replica == replica and worker.pid not in self._pids[replica]:
                self.drop(worker.name)

    def forget(self, replica: str) -> None:
        """A replica is gone, and its workers with it."""
        self.expect((), replica)
        self._clocks.pop(replica, None)
        for oldest in [name for name, pids in self._pids.items() if not pids][:-MOST_GONE]:
            del self._pids[oldest]

    def over(self, name: str) -> bool:
        """Whether nothing can come any more from an incarnation that is not here: each worker process of its replica
        has both its links here, or there is no such replica."""
        replica = name.rpartition("/")[0] if self.replica else ""
        pids = self._pids.get(replica)
        if pids is None:
            return replica != self.replica and time.monotonic() - self._began > AWAY
        if not pids:
            return replica != self.replica
        return pids <= {w.pid for w in self.workers.values() if w.replica == replica and w.connected}

    def drop(self, name: str) -> None:
        """Forget a worker whose process is gone. What it had written before it died still waits in the socket, so its
        connections are read to their end first."""
        worker = self.workers.get(name)
        if worker is None:
            return
        if worker.pairs is not None:
            worker.slot = -1  # forgotten when its pair link ends
            return
        del self.workers[name]
        self._listener.on_gone(name)

    def _closed(self, channel: Channel) -> None:
        self._from.pop(channel, None)
        self._nameless.discard(channel)
        worker = self._of.pop(channel, None)
        if worker is None:
            return
        if worker.pairs is channel:
            worker.pairs = None
        if worker.tables is channel:
            worker.tables = None
        if worker.slot < 0:
            self.drop(worker.name)
        self._changed.set()

    # --- frames ------------------------------------------------------------------------------------------------------

    def _pairs_frame(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        worker = self._of.get(channel)
        if kind is _PAIR and worker is not None:  # nearly all of them, so asked first
            pair = link.decode_pair(payload, worker.trials, worker.name)
            self._listener.on_pair(pair if worker.clock is None else self._by_our_clock(pair, worker.clock))
            return
        if kind is Frame.HELLO:
            worker, _ = self._greet(channel, payload)
            worker.pairs, worker.trials = channel, {}
            return
        if worker is None:
            raise LinkError(f"{kind.name} before HELLO")
        if kind is Frame.OBSERVATION:
            seen = link.decode_observation(payload, worker.trials, worker.name)
            self._listener.on_observation(seen._replace(time=seen.time - worker.late) if worker.late else seen)
        elif kind is Frame.MARK:
            mark = link.decode_mark(payload)
            self._listener.on_mark(worker.name, _named(worker, mark.trial, "a mark"), mark.sequence)
        elif kind is Frame.COUNTS:
            self._listener.on_counts(worker.name, link.read_note(payload))
        elif kind is Frame.EXPOSED:
            told = decode_exposed(payload)
            self._listener.on_exposed(_named(worker, told.trial, "users"), told)
        elif kind is Frame.REQUESTS:
            self._listener.on_entries(request_log.decode_entries(payload))
        elif kind is Frame.TRIAL:
            self._name(worker, link.read_note(payload))
        elif kind is Frame.PONG and channel in self._from:
            self.ponged(channel, payload)
        else:
            raise LinkError(f"{kind.name} on the link for pairs")

    def _by_our_clock(self, pair: Pair, clock: ClockOffset) -> Pair:
        """The pair as this replica would have timed it. Blocks of latency evidence are closed over all workers by
        request time: where that is not known to a quarter of a block, its times say nothing."""
        if pair.latency_slot:
            block = self._listener.latency_block(pair.trial)
            if block and clock.uncertainty(time.monotonic()) > block / 4:
                self.untimed[pair.trial] = self.untimed.get(pair.trial, 0) + 1
                pair = pair._replace(latency_slot=False)
        return pair._replace(time=pair.time - clock.correction) if clock.correction else pair

    @staticmethod
    def _name(worker: WorkerConnection, named: dict[str, Any]) -> None:
        try:
            worker.trials[int(named["index"])] = str(named["trial"])
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"not a trial's name: {error!r}") from None

    def _tables_frame(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.HELLO:
            worker, hello = self._greet(channel, payload)
            worker.tables, worker.acked = channel, -1
            self._listener.on_hello(worker, hello)
        elif kind is Frame.ACK and channel in self._of:
            worker = self._of[channel]
            worker.acked = max(worker.acked, int(link.read_note(payload).get("number", 0)))
        else:
            raise LinkError(f"{kind.name} on the link for tables")
        self._changed.set()

    # --- tables ------------------------------------------------------------------------------------------------------

    def publish(self, table: Table) -> None:
        """Write a table to every connected worker. One whose link is choked is disconnected: it takes the table up when
        it comes back."""
        data = link.encode_table(table)
        for worker in self.workers.values():
            if worker.tables is not None and not worker.tables.send(data):
                worker.tables.close()

    def alive(self) -> None:
        """Let every connected worker hear that this controller judges."""
        data = link.frame(Frame.ALIVE, b"")
        for worker in self.workers.values():
            if worker.tables is not None:
                worker.tables.send(data)

    def send(self, worker: WorkerConnection, table: Table) -> None:
        """Write a table to one worker."""
        if worker.tables is not None and not worker.tables.send(link.encode_table(table)):
            worker.tables.close()

    def behind(self, number: int) -> list[str]:
        """Connected workers that have not acknowledged table `number` or a later one."""
        return [w.name for w in self.workers.values() if w.tables is not None and w.acked < number]

    async def acknowledged(self, number: int, deadline: float) -> list[str]:
        """Wait until no connected worker is behind; after `deadline` seconds, those that still are."""
        try:
            async with asyncio.timeout(deadline):
                while self.behind(number):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.behind(number)


def _named(worker: WorkerConnection, trial: int, what: str) -> str:
    """The trial of this index."""
    if trial not in worker.trials:
        raise LinkError(f"{what} for trial {trial}, which was never named")
    return worker.trials[trial]
