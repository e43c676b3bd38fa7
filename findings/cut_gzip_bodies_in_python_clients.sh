#!/usr/bin/env bash
# aiohttp 3.14.5 (client and server), httpx 0.28.1, requests 2.34.2, urllib3 2.8.0; Python's own gzip beside them.
#
# One would guess: a body with `content-encoding: gzip` whose compressed stream ends early (a sender that died between
# its compressor and its framing: `content-length` is right, the gzip trailer with checksum and length is missing) is an
# error, as it is for `gzip.decompress`.
# What happens: all four clients, and aiohttp's server, return what could be inflated so far, with status 200 and
# without a word; the last part is missing.
# Why it matters: rows of a prediction, events of a stream or posted outcomes get lost unnoticed, and a comparison of
# two models compares half an answer. Who reads such bodies must look whether the decompressor has seen the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    aiohttp==3.14.5 httpx==0.28.1 requests==2.34.2 urllib3==2.8.0 2>/dev/null
cat >"$folder/see.py" <<'PY'
import asyncio
import gzip
import http.server
import threading

import aiohttp
import httpx
import requests
import urllib3
from aiohttp import web

ROWS = b"".join(b'{"id": "r-%d", "label": %d}\n' % (n, n % 3) for n in range(3000))
CUT = gzip.compress(ROWS, mtime=0)[:-200]


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(CUT)))
        self.end_headers()
        self.wfile.write(CUT)

    def log_message(self, *args):
        pass


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.read()


async def to_aiohttp():
    """What a server reads of a request that is cut."""
    read = []

    async def take(request):
        read.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with session.post(url, data=CUT, headers={"content-encoding": "gzip"}) as answer:
            assert answer.status == 200
    await runner.cleanup()
    return read[0]


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
ways = {
    "aiohttp, client": lambda: asyncio.run(by_aiohttp(url)),
    "aiohttp, server": lambda: asyncio.run(to_aiohttp()),
    "httpx": lambda: httpx.get(url).content,
    "requests": lambda: requests.get(url).content,
    "urllib3": lambda: urllib3.request("GET", url).data,
}
for name, way in ways.items():
    body = way()
    print(f"{name:16} 200, {body.count(10)} of 3000 rows")
    assert body and len(body) < len(ROWS) and ROWS.startswith(body), name
try:
    gzip.decompress(CUT)
except EOFError as error:
    print(f"gzip.decompress  {error}")
else:
    raise SystemExit("gzip takes it, too")
PY
"$folder/venv/bin/python" "$folder/see.py"
