"""The reverse proxy a user would write with aiohttp: forward every request; with a third argument, mirror it too.

python aiohttp_proxy.py PORT UPSTREAM_PORT [MIRROR_PORT]
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}


async def main(port: int, upstream: int, mirror: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        copies: set[asyncio.Task[None]] = set()

        async def copy(request: web.Request, body: bytes) -> None:
            url = f"http://127.0.0.1:{mirror}{request.path_qs}"
            async with session.request(request.method, url, headers=request.headers, data=body) as answer:
                await answer.read()

        async def forward(request: web.Request) -> web.Response:
            body = await request.read()
            url = f"http://127.0.0.1:{upstream}{request.path_qs}"
            async with session.request(request.method, url, headers=request.headers, data=body) as answer:
                content = await answer.read()
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            if mirror:
                task = asyncio.create_task(copy(request, body))
                copies.add(task)
                task.add_done_callback(copies.discard)
            return web.Response(status=answer.status, body=content, headers=headers)

        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
