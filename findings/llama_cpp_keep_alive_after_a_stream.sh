#!/usr/bin/env bash
# llama.cpp's server as xllamacpp 2026.10.11549 has it, a model of random weights, Python's http.client.
#
# One would guess: a server that answers HTTP/1.1 with `Keep-Alive: timeout=5, max=100` and without `Connection: close`
# takes another request on the connection.
# What happens: after each streamed answer, whole to its last chunk, the server closes the connection without having
# said so. After a whole answer it keeps it, a hundred requests long.
# Why it matters: a client that keeps its connection sends the next request into one that is being closed. The official
# clients hide it, for they ask twice more; with `max_retries=0`, or with aiohttp and httpx, about every second streamed
# request fails with "server disconnected". A proxy in front must take the closing for what it is, neither for a failure
# of the model nor for an answer, and ask again over a new connection.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$engine" 2>/dev/null || true; rm -rf "$folder"' EXIT
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 2>/dev/null
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/python" "$here/tests/integration/llama_engine.py" 1 "$port" "$folder" >"$folder/log" 2>&1 &
engine=$!
seen=$("$folder/venv/bin/python" - "$port" <<'PY'
import http.client
import json
import sys
import time

port = int(sys.argv[1])
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    try:
        probe = http.client.HTTPConnection("127.0.0.1", port)
        probe.request("GET", "/health")
        if probe.getresponse().status == 200:
            break
    except OSError:
        time.sleep(0.1)
for stream in (False, True):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = {"messages": [{"role": "user", "content": "the lead"}], "max_tokens": 4, "stream": stream}
    said = "streamed" if stream else "whole"
    try:
        for number in range(1, 4):
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            print(f"{said} {number}: keep-alive {answer.getheader('keep-alive')}, connection {answer.getheader('connection')}")
            time.sleep(0.1)
    except (http.client.RemoteDisconnected, OSError) as error:
        print(f"{said} {number}: {type(error).__name__}")
PY
)
echo "$seen"
grep -q '^whole 3: keep-alive timeout=5' <<<"$seen"
grep -q '^streamed 1: keep-alive timeout=5, max=100, connection None' <<<"$seen"
grep -qE '^streamed 2: (RemoteDisconnected|BrokenPipeError|ConnectionResetError)' <<<"$seen"
