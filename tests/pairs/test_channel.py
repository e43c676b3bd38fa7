"""Promise: a channel that is held up takes nothing more, loses nothing, and goes on where it was."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame, frame

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


async def held_every(few: int, count: int, size: int) -> tuple[list[list[int]], bool]:
    """Frames of a peer that writes them all and dies, as they are taken by one who is held up after each `few`; and
    whether the end was heard of after all of them."""
    ours, theirs = socket.socketpair()
    parts, ended, loop = [list[int]()], asyncio.Event(), asyncio.get_running_loop()
    at_the_end = list[int]()

    def taken(channel: Channel, kind: Frame, payload: bytes) -> None:
        assert kind is Frame.DRAIN
        parts[-1].append(int.from_bytes(payload[:4], "big"))
        if len(parts[-1]) == few:
            channel.hold_up(True)
            loop.call_later(0.001, go_on, channel)

    def go_on(channel: Channel) -> None:
        parts.append([])
        channel.hold_up(False)
        channel.hold_up(False)

    def gone(_: Channel) -> None:
        at_the_end.append(sum(map(len, parts)))
        ended.set()

    await loop.create_connection(lambda: Channel(taken, gone), sock=ours)
    _, writer = await asyncio.open_connection(sock=theirs)
    writer.write(b"".join(frame(Frame.DRAIN, n.to_bytes(4, "big") + bytes(size)) for n in range(count)))
    await writer.drain()
    writer.close()
    async with asyncio.timeout(30):
        await ended.wait()
    return parts, at_the_end == [count]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(("few", "count", "size"), [(1, 50, 10), (7, 300, 3000), (100, 120, 20_000)])
def test_who_is_held_up_takes_no_frame_more_and_loses_none(
    few: int, count: int, size: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        parts, in_the_end = runner.run(held_every(few, count, size))
    assert [n for part in parts for n in part] == list(range(count))
    assert all(len(part) <= few for part in parts)
    assert in_the_end
