#!/usr/bin/env bash
# aiohttp 3.14.5 (trust_env=True), requests 2.34.2 and httpx 0.28.1, on Linux.
#
# One would guess: NO_PROXY=127.0.0.0/8 keeps requests to 127.0.0.1 away from the proxy that HTTP_PROXY names, in every
# client that says it reads these variables, as it does for curl (since 7.86) and for Go.
# What happens: requests goes direct; aiohttp and httpx send the request to the proxy. Python's own
# urllib.request.proxy_bypass, which aiohttp asks, compares names by their ends and knows no networks.
# Why it matters: a controller that calls model servers and webhook receivers inside a cluster by address is sent through
# the company's proxy, with its credentials, by one client and not by the next, under the same environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 requests==2.34.2 httpx==0.28.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import asyncio
import http.server
import os
import threading

import aiohttp
import httpx
import requests


def serve(name: str) -> int:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


target = f"http://127.0.0.1:{serve('direct')}/"
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]
os.environ |= {"http_proxy": f"http://127.0.0.1:{serve('proxy')}", "no_proxy": "127.0.0.0/8"}


async def by_aiohttp() -> str:
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(target) as answer:
        return await answer.text()


print("NO_PROXY=127.0.0.0/8, asked for 127.0.0.1")
print("requests:", requests.get(target, timeout=5).text)
print("aiohttp: ", asyncio.run(by_aiohttp()))
print("httpx:   ", httpx.get(target).text)
PY
seen=$("$folder/venv/bin/python" "$folder/see.py")
printf '%s\n' "$seen"
expected=$'NO_PROXY=127.0.0.0/8, asked for 127.0.0.1\nrequests: direct\naiohttp:  proxy\nhttpx:    proxy'
[ "$seen" = "$expected" ] || { echo "these clients no longer differ like this" >&2; exit 1; }
