"""Promise: an upgrade that the model takes up makes one pipe of two connections, for as long as somebody uses it."""

from __future__ import annotations

from tests.plane.rig import Call, Model, eventually, rig
from tests.plane.test_conformance import CONFIG


async def test_upgrade_is_a_tunnel() -> None:
    async def script(call: Call) -> None:
        assert call.headers["upgrade"] == "echo"
        assert call.headers["connection"] == "upgrade"
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while data := await call.reader.read(100):
            await call.send(data.upper())

    async with rig(CONFIG, (Model(script),)) as it:
        reader, writer = await it.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nconnection: upgrade\r\nupgrade: echo\r\n" in head
        assert await reader.readexactly(7) == b"hiEARLY"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"MORE"
        writer.close()
        await it.settled()
        await eventually(lambda: not it.worker.plane.clients)


async def test_h2c_offer_is_not_taken_up_and_its_body_passes() -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        status, _, _ = await it.ask(
            b"body", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"
        )
        assert status == 200
        assert model.calls[0].body == b"body"
        assert b"h2c" not in model.calls[0].head
        assert b"http2-settings" not in model.calls[0].head.lower()
