#!/usr/bin/env bash
# openai 3.57.0, anthropic 2.14.0 (both on httpx2 2.16.2).
#
# One would guess: a client asks again where another attempt may help (429, 5xx, no connection), and never after a 4xx that
# says that the request itself is at fault.
# What happens: both clients ask three times after a 409, and a header of the answer, `x-should-retry`, overrules the
# status in both directions: with `true` a 400 is asked three times, with `false` a 503 once. Any server in between may
# send that header, whoever made the answer.
# Why it matters: a completion is paid by the token and may call tools. Behind a proxy each attempt is a request of its
# own: it is sampled, copied to a candidate and counted, so one client's 409 is three pairs with the same body. A gateway
# that sheds load with 503 gets three times the load unless it says `x-should-retry: false`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openai==3.57.0 anthropic==2.14.0 httpx2==2.16.2 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import http.server
import threading

import anthropic
import openai


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status, retry, asked = 200, "", 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        Server.asked += 1
        self.send_response(Server.status)
        if Server.retry:
            self.send_header("x-should-retry", Server.retry)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
says = [{"role": "user", "content": "hello"}]
clients = {
    "openai": lambda: openai.OpenAI(base_url=url, api_key="none").chat.completions.create(model="m", messages=says),
    "anthropic": lambda: anthropic.Anthropic(base_url=url, api_key="none").messages.create(
        model="m", max_tokens=9, messages=says
    ),
}
for name, ask in clients.items():
    for Server.status, Server.retry in ((400, ""), (409, ""), (503, ""), (400, "true"), (503, "false")):
        Server.asked = 0
        try:
            ask()
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            header = f" with x-should-retry: {Server.retry}" if Server.retry else ""
            print(f"{name}: {error.status_code}{header} was asked {Server.asked} times")
PY
)
printf '%s\n' "$seen"
for name in openai anthropic; do
    for told in "400 was asked 1 times" "409 was asked 3 times" "503 was asked 3 times" \
        "400 with x-should-retry: true was asked 3 times" "503 with x-should-retry: false was asked 1 times"; do
        grep -qxF "$name: $told" <<<"$seen" || { echo "no longer so: $name: $told" >&2; exit 1; }
    done
done
