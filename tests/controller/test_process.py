"""Promise: a controller whose supervisor ends before it has told anything does not stay behind."""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path

from proxy.controller.process import Process


async def test_a_controller_that_is_told_nothing_leaves_with_its_supervisor(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with socket.socket() as listener:
        process = asyncio.create_task(Process(theirs, listener, tmp_path).run())
        await asyncio.sleep(0)
        ours.close()
        try:
            async with asyncio.timeout(10.0):
                assert await process == 1
        finally:
            gc.enable()
