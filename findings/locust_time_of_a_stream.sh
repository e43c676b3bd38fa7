#!/usr/bin/env bash
# locust 2.47.0.
#
# One would guess: the response time that locust reports of a request with `stream=True`, whose whole answer the task
# reads, is the time until the answer was here.
# What happens: it is the time until the headers, for `HttpUser` and `FastHttpUser` alike. An answer that takes two
# seconds to stream counts as a few milliseconds; with `stream=False` the same answer counts as two seconds.
# Why it matters: a load test of a model that answers token by token shows percentiles of the gateway's headers, which
# a server sends before the model has begun. Two servers of which one streams five times as slowly look alike. What is
# meant has to be measured in the task and reported by `events.request.fire`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check locust==2.47.0 2>/dev/null
cat >"$folder/server.py" <<'PY'
import http.server
import time


class Streaming(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for _ in range(5):
            time.sleep(0.4)
            self.wfile.write(b"data: token\n\n")

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Streaming)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >"$folder/locustfile.py" <<'PY'
import os
import time

from locust import FastHttpUser, HttpUser, task


class Client(HttpUser if os.environ["CLIENT"] == "HttpUser" else FastHttpUser):
    @task
    def ask(self) -> None:
        began = time.perf_counter()
        with self.client.post("/", catch_response=True, stream=os.environ["STREAM"] == "yes") as answer:
            size = len(answer.content)
        told = answer.request_meta["response_time"] / 1000
        whole = time.perf_counter() - began
        kind = "the whole answer" if told > 0.9 * whole else "a small part" if told < 0.25 * whole else "something else"
        print(f"{os.environ['CLIENT']}, stream={os.environ['STREAM']}: {size} bytes, told {kind}", flush=True)
        self.environment.runner.quit()
PY
coproc SERVER { "$folder/venv/bin/python" "$folder/server.py"; }
trap 'kill "$SERVER_PID" 2>/dev/null || true; rm -rf "$folder"' EXIT
read -r port <&"${SERVER[0]}"
seen=$(for client in HttpUser FastHttpUser; do
    for stream in no yes; do
        CLIENT=$client STREAM=$stream "$folder/venv/bin/locust" -f "$folder/locustfile.py" --headless -u 1 -r 1 -t 30s \
            -H "http://127.0.0.1:$port" --only-summary --loglevel ERROR 2>/dev/null | grep told | head -n 1 || true
    done
done)
printf '%s\n' "$seen"
for client in HttpUser FastHttpUser; do
    for told in "$client, stream=no: 65 bytes, told the whole answer" "$client, stream=yes: 65 bytes, told a small part"; do
        grep -qxF "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
    done
done
