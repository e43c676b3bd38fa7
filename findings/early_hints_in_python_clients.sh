#!/usr/bin/env bash
# requests 2.34.2 and urllib3 2.8.0 (and http.client of Python 3.11, on which both stand) against httpx 0.28.1.
#
# One would guess: a client reads past interim answers (1xx) to the final one, as RFC 9110, 15.2, says it must be able to,
# even if it does not know what they mean. 103 Early Hints is such an answer.
# What happens: only 100 is read past. A 103 is returned as the answer, with an empty body; the real one, which follows
# on the same connection, is not given to the caller. httpx returns the real one.
# Why it matters: a model server, or whatever stands before it, that begins to send early hints turns every answer into
# an empty one for these clients, and what compares statuses sees a 1xx that no model gave as its answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import http.client
import socket
import threading

import httpx
import requests
import urllib3

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
url = f"http://127.0.0.1:{listener.getsockname()[1]}/"


def serve() -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HINTS + ANSWER)


threading.Thread(target=serve, daemon=True).start()
plain = http.client.HTTPConnection(url.split("/")[2])
plain.request("GET", "/")
answer = plain.getresponse()
print("http.client:", answer.status, answer.read())
answer = urllib3.PoolManager().request("GET", url)
print("urllib3:", answer.status, answer.data)
answer = requests.get(url, timeout=5)
print("requests:", answer.status_code, answer.content)
answer = httpx.get(url, trust_env=False)
print("httpx:", answer.status_code, answer.content)
PY
seen=$(env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY "$folder/venv/bin/python" "$folder/see.py")
printf '%s\n' "$seen"
for client in http.client urllib3 requests; do
    grep -q "^$client: 103 b''" <<<"$seen" || { echo "$client no longer does this" >&2; exit 1; }
done
grep -q "^httpx: 200 b'ok'" <<<"$seen"
