#!/usr/bin/env bash
# uvicorn 0.54.0 with httptools 0.9.0 and with h11 0.16.0; hypercorn 0.18.0, which is built on h11 too.
#
# One would guess: a request that HTTP/1.1 allows means the same to an application whether uvicorn reads it with httptools
# (`uvicorn[standard]`) or with h11 (plain `uvicorn`): it is one server with one ASGI interface.
# What happens, with the same application:
# - `GET http://host/infer`, which every server must accept (RFC 9112, 3.2.2): httptools gives the path /infer, h11 gives
#   the whole URL as the path (hypercorn too), so that no route matches.
# - an empty line before a request, which a server should ignore (2.2): httptools ignores it, h11 answers 400.
# Why it matters: a model server answers 404 or 400 in one image and 200 in the next, by whether httptools was installed
# beside it; a proxy that writes requests anew must use the forms that both read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0 hypercorn==0.18.0 2>/dev/null
cat >"$folder/app.py" <<'PY'
async def app(scope, receive, send):
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        path = scope["path"].encode()
        head = [(b"content-length", b"%d" % len(path))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": path})
PY
cat >"$folder/see.py" <<'PY'
import socket
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
HEAD = b"Host: model\r\nConnection: close\r\n"
REQUESTS = {
    "as usual": b"GET /infer HTTP/1.1\r\n" + HEAD + b"\r\n",
    "absolute form": b"GET http://model/infer HTTP/1.1\r\n" + HEAD + b"\r\n",
    "an empty line first": b"\r\nGET /infer HTTP/1.1\r\n" + HEAD + b"\r\n",
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(port: int, request: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        answer = b""
        while more := sock.recv(65536):
            answer += more
    status, body = answer.split(b" ")[1], answer.rpartition(b"\r\n\r\n")[2]
    return f"{status.decode()} {body.decode()}" if status == b"200" else status.decode()


def see(name: str, port: int, *command: str) -> None:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([BIN / command[0], *command[1:]], stdout=quiet, stderr=quiet, cwd=Path(__file__).parent)
    try:
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        for what, request in REQUESTS.items():
            print(f"{name}, {what}: {ask(port, request)}")
    finally:
        process.terminate()
        process.wait()


for reader in ("httptools", "h11"):
    port = free_port()
    see(reader, port, "uvicorn", "app:app", "--port", str(port), "--http", reader, "--log-level", "error")
port = free_port()
see("hypercorn", port, "hypercorn", "app:app", "-b", f"127.0.0.1:{port}")
PY
seen=$("$folder/venv/bin/python" "$folder/see.py")
printf '%s\n' "$seen"
for what in 'as usual' 'absolute form' 'an empty line first'; do
    grep -q "^httptools, $what: 200 /infer$" <<<"$seen"
done
grep -q '^h11, as usual: 200 /infer$' <<<"$seen"
for told in 'h11, absolute form: 200 http://model/infer' 'hypercorn, absolute form: 200 http://model/infer' \
    'h11, an empty line first: 400'; do
    grep -qx "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
done
