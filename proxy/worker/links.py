"""A link to the controller, held open for as long as the worker lives, whoever is at its other end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
LONGEST_AT_START = 0.1
"""Seconds between two attempts: they double from the first to the longest, which is shorter while the worker starts."""

OnFrame = Callable[[Channel, Frame, bytes], None]
OnChannel = Callable[[Channel], None]


async def keep_connected(
    path: Path, on_frame: OnFrame, on_open: OnChannel, on_close: OnChannel, is_ready: Callable[[], bool]
) -> None:
    """Connect to the socket at `path`, again whenever the link ends. `is_ready` says that the worker has started."""
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
    while True:
        ended = asyncio.Event()

        def closed(channel: Channel, ended: asyncio.Event = ended) -> None:
            on_close(channel)
            ended.set()

        try:
            await loop.create_unix_connection(
                lambda closed=closed: Channel(on_frame, closed, on_open),  # type: ignore[misc]
                str(path),
            )
        except OSError:
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE if is_ready() else LONGEST_AT_START, pause * 2)
            continue
        began = time.monotonic()
        await ended.wait()
        if time.monotonic() - began < LONGEST_PAUSE:  # one that is closed at once must not be tried in a circle
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        else:
            pause = FIRST_PAUSE
