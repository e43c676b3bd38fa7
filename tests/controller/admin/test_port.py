"""Promise: a client that holds connections, heads, bodies or answers of the admin port open keeps nobody else out."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from proxy.config.admin import Admin, AdminLimits, AdminTimeouts
from proxy.controller.admin import Port, application
from proxy.controller.admin.port import KEPT_BACK
from proxy.model.reasons import Reason
from tests.controller.fake_service import FakeSender, FakeService

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = (
    b"POST /api/v1/outcomes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
)
EVENTS = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SHORT = AdminTimeouts.model_validate({"header": "200ms", "body": "200ms", "idle": "200ms"})
PATIENT = AdminTimeouts.model_validate({"header": "60s", "body": "60s", "idle": "60s"})

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Rig:
    """A listening admin port, and its clients' ends."""

    def __init__(self, port: Port, where: tuple[str, int]) -> None:
        self.port, self._where = port, where
        self.opened: list[Ends] = []

    async def connect(self, sent: bytes = b"", source: str = "127.0.0.1") -> Ends:
        ends = await asyncio.open_connection(*self._where, local_addr=(source, 0))
        self.opened.append(ends)
        ends[1].write(sent)
        return ends


@asynccontextmanager
async def serving(service: FakeService, admin: Admin) -> AsyncIterator[Rig]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = Port(application(service, FakeSender()), 1.0, admin)
    await port.start(listener)
    rig = Rig(port, listener.getsockname())
    try:
        yield rig
    finally:
        for _, writer in rig.opened:
            writer.close()
        await port.close()


async def status(ends: Ends) -> int:
    """The status of the next answer, 0 when the connection is closed without one."""
    try:
        head = await asyncio.wait_for(ends[0].readuntil(b"\r\n\r\n"), 10)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return int(head.split(b" ", 2)[1])


async def is_closed(ends: Ends) -> bool:
    with suppress(ConnectionError):
        await asyncio.wait_for(ends[0].read(), 10)
    return ends[0].at_eof() or ends[0].exception() is not None


@pytest.mark.parametrize(
    ("sent", "said"),
    [(b"", 0), (b"GET / HT", 408), (POST + b"{", 408), (GET, 200), (GET + GET[:9], 200)],
    ids=["nothing", "half a head", "half a body", "a request and then nothing", "half a head behind a request"],
)
async def test_who_is_late_is_closed(service: FakeService, sent: bytes, said: int) -> None:
    async with serving(service, Admin(timeouts=SHORT)) as rig:
        ends = await rig.connect(sent)
        assert await status(ends) == said
        assert rig.port.refusals[Reason.REQUEST_TIMEOUT] == (said == 408)
        assert await is_closed(ends)
        assert not rig.port.connections


async def test_a_head_that_trickles_is_late_too(service: FakeService) -> None:
    async with serving(service, Admin(timeouts=SHORT)) as rig:
        ends = await rig.connect()
        told = asyncio.create_task(status(ends))
        for byte in GET * 50:
            if told.done():
                break
            ends[1].write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await told == 408


async def test_a_reader_of_events_is_not_late(service: FakeService) -> None:
    async with serving(service, Admin(timeouts=SHORT)) as rig:
        ends, other = await rig.connect(EVENTS), await rig.connect()
        assert await status(ends) == 200
        assert await is_closed(other)
        service.emit("rollout.changed", {"rollout": "still told"})
        await asyncio.wait_for(ends[0].readuntil(b"still told"), 10)
        assert len(rig.port.connections) == 1


async def test_the_one_that_was_idle_longest_makes_room(service: FakeService) -> None:
    limits = AdminLimits(max_connections=4, max_connections_per_peer=3)
    async with serving(service, Admin(limits=limits, timeouts=PATIENT)) as rig:
        held = [await rig.connect(b"GET / HT") for _ in range(3)]
        for _ in range(20):
            ends = await rig.connect(GET)
            assert await status(ends) == 200
        assert [await is_closed(one) for one in held] == [True] * 3
        assert len(rig.port.connections) == 3


async def test_where_none_is_idle_one_more_is_told_so(service: FakeService) -> None:
    limits = AdminLimits(max_connections=3, max_connections_per_peer=2)
    async with serving(service, Admin(limits=limits, timeouts=PATIENT)) as rig:
        for _ in range(2):
            assert await status(await rig.connect(EVENTS)) == 200
        assert await status(await rig.connect(GET)) == 503
        assert rig.port.refusals[Reason.TOO_MANY_CONNECTIONS] == 1
        probe = await rig.connect(GET, "127.0.0.2")  # another peer has its place all the same
        assert await status(probe) == 200
        rig.port.admin = Admin(timeouts=PATIENT)  # as a reload sets it
        assert await status(await rig.connect(GET)) == 200


async def test_descriptors_are_kept_back(service: FakeService) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (KEPT_BACK + 20, before[1]))
    try:
        async with serving(service, Admin(timeouts=PATIENT)) as rig:
            for _ in range(30):
                assert await status(await rig.connect(GET)) == 200
            assert len(rig.port.connections) == 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("sent", "said", "why"),
    [
        (b"nonsense\r\n\r\n", 400, Reason.BAD_REQUEST),
        (GET.replace(b"/healthz", b"/nowhere"), 404, Reason.NONE),
        (POST.replace(b"99", b"99999999") + bytes(99_999_999 >> 3), 413, Reason.BODY_TOO_LARGE),
        (POST.replace(b"\r\n\r\n", b"\r\nOrigin: http://elsewhere\r\n\r\n") + bytes(99), 403, Reason.UNAUTHORIZED),
    ],
)
async def test_what_is_refused_is_counted_by_why(service: FakeService, sent: bytes, said: int, why: Reason) -> None:
    async with serving(service, Admin(timeouts=PATIENT)) as rig:
        assert await status(await rig.connect(sent)) == said
        assert {reason for reason, number in rig.port.refusals.items() if number} == ({why} if why else set())


class Stuck:
    """The transport of a client that takes nothing."""

    aborted = False

    def get_write_buffer_size(self) -> int:
        return 10

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def test_who_takes_nothing_of_an_answer_is_counted(service: FakeService) -> None:
    async with serving(service, Admin(timeouts=PATIENT)) as rig:
        assert await status(await rig.connect(EVENTS)) == 200
        (connection,) = rig.port.connections
        ours, connection.transport = connection.transport, Stuck()  # type: ignore[assignment]
        now = connection._taken
        for seconds in (0.0, 59.0, 61.0):
            connection.check(rig.port.admin, now + seconds)
            assert rig.port.refusals[Reason.SLOW_CLIENT] == (seconds > 60)
        connection.transport = ours
