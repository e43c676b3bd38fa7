#!/usr/bin/env bash
# aiohttp 3.14.5, httpx 0.28.1; Python's own urllib beside them, trustme 1.2.1 for a private authority.
#
# One would guess: which authorities are trusted is read when a client or a connection is made, so that a program may
# set SSL_CERT_FILE in its environment before it makes its first one.
# What happens: aiohttp reads the authorities of the system while it is imported, whether or not anything ever speaks
# TLS, and what SSL_CERT_FILE says later is ignored: a model server with a certificate of the private authority is
# refused. httpx and urllib read it when a client, or a connection, is made, and connect.
# Why it matters: a service whose configuration names its authority works or not by the order of its imports; and every
# process that imports aiohttp pays for the store (20 ms or so of a core), also one that only serves.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 httpx==0.28.1 trustme==1.2.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import asyncio
import http.server
import os
import ssl
import sys
import threading
import urllib.request

import trustme

reads = 0
load = ssl.SSLContext.load_default_certs


def counted(self, *arguments):
    global reads
    reads += 1
    return load(self, *arguments)


ssl.SSLContext.load_default_certs = counted
import aiohttp  # noqa: E402

print(f"while aiohttp is imported: the authorities are read {'at least once' if reads else 'never'}")
import httpx  # noqa: E402

authority = trustme.CA()
folder = sys.argv[1]
authority.cert_pem.write_to_path(f"{folder}/ca.pem")


class Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"https://127.0.0.1:{server.server_port}/"
os.environ["SSL_CERT_FILE"] = f"{folder}/ca.pem"


async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


def by_httpx():
    with httpx.Client() as client:
        return client.get(url).status_code


for name, ask in (
    ("aiohttp", lambda: asyncio.run(by_aiohttp())),
    ("httpx", by_httpx),
    ("urllib", lambda: urllib.request.urlopen(url).status),
):
    try:
        print(f"{name}, SSL_CERT_FILE set after the imports: {ask()}")
    except Exception as error:
        print(f"{name}, SSL_CERT_FILE set after the imports: {type(error).__name__}")
server.shutdown()
PY
env -u SSL_CERT_FILE -u SSL_CERT_DIR -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u all_proxy \
    "$folder/venv/bin/python" "$folder/see.py" "$folder" >"$folder/seen"
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
while aiohttp is imported: the authorities are read at least once
aiohttp, SSL_CERT_FILE set after the imports: ClientConnectorCertificateError
httpx, SSL_CERT_FILE set after the imports: 200
urllib, SSL_CERT_FILE set after the imports: 200
SEEN
