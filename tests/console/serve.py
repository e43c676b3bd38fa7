"""The console over scenes that move: `python -m tests.console.serve [PORT]`, for working on the console by eye."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from proxy.controller.admin import application
from tests.console.scenes import SceneSurface, usual
from tests.controller.fake_service import FakeSender


async def main(port: int) -> None:
    service = SceneSurface(usual())
    runner = web.AppRunner(application(service, FakeSender()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}/\n")
    sys.stdout.flush()
    while True:
        await asyncio.sleep(1)
        service.step()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
