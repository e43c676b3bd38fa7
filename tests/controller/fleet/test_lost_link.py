"""Promise: a network that says nothing any more costs the one replica behind it its leader, and nobody else; it comes
back by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.controller.fleet import links, relay
from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.controller.controllers import eventually
from tests.controller.fleet.replicas import Leader, Standby
from tests.controller.worker import FakeWorker


class Network:
    """A TCP proxy between a replica and its leader, whose cable can be pulled: nothing passes, nothing is closed."""

    def __init__(self, to: str) -> None:
        self._to, self.whole, self.address = to, asyncio.Event(), ""
        self.whole.set()
        self._server: asyncio.Server | None = None
        self._carriers: set[asyncio.Task[None]] = set()

    async def start(self) -> Network:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._to.partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._carriers.add(task)
            task.add_done_callback(self._carriers.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self.whole.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        carriers = tuple(self._carriers)
        for task in carriers:
            task.cancel()
        await asyncio.gather(*carriers, return_exceptions=True)
        await asyncio.sleep(0)  # what they closed is let go of in the next turn


async def test_a_pulled_cable_costs_one_replica_its_leader_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "PING", 0.2)
    monkeypatch.setattr(relay, "LOOK", 0.2)
    leader = await Leader(tmp_path).start()
    network = await Network(leader.address).start()
    b, c = Standby(tmp_path / "b", "b"), Standby(tmp_path / "c", "c")
    await b.start()
    await c.start(leader)
    b.relay.follow(network.address, 1)
    await eventually(lambda: b.relay.leader is not None)
    far, near = await FakeWorker(b.folder).connect(), await FakeWorker(c.folder).connect()
    await eventually(lambda: sum(w.connected for w in leader.connections.workers.values()) == 2)

    network.whole.clear()
    await far.ended()  # it hears of no controller any more: what follows is `controller_lost`
    await eventually(lambda: not leader.links.peers["b"].connected and b.relay.leader is None)
    assert ("gone", "b/w0") not in leader.ear.heard
    near.say(link.note(Frame.COUNTS, {}))
    await leader.ear.until("counts", "c/w0")
    assert leader.links.peers["c"].connected

    network.whole.set()
    await eventually(lambda: b.relay.leader is not None)
    await far.connect()
    await eventually(lambda: leader.connections.workers["b/w0"].connected)
    for one in (b, c):
        await one.relay.stop()
    far.disconnect()
    near.disconnect()
    await network.stop()
    await leader.stop()
