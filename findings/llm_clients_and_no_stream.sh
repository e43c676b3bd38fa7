#!/usr/bin/env bash
# openai 3.57.0, anthropic 2.14.0 (both on httpx2 2.16.2).
#
# One would guess: a client that asked for a stream, and gets a 200 that is none, or one with an error in it, says so.
# What happens: no error, and what was not understood is passed over.
# - A server that does not stream and answers `stream: true` with a whole completion (some do): the openai client yields
#   nothing at all, and the answer is lost.
# - `event: error` in a stream: openai yields a chunk whose `choices` are `None`, so that the usual loop fails with a
#   TypeError about None. An error that stands in `data` as `{"error": …}` is raised.
# - A stream of Anthropic's without `event:` lines, whose data say the type as well: the anthropic client yields nothing.
# Why it matters: a candidate that ignores `stream`, or a gateway that leaves out what looks redundant, such as the names
# of events, gives every client an empty answer, with status 200 and nothing in its log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openai==3.57.0 anthropic==2.14.0 httpx2==2.16.2 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import http.server
import json
import threading

import anthropic
import openai

EVENTS, WHOLE = "text/event-stream", "application/json"
CHUNK = json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]})
COMPLETION = json.dumps({"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]})
START = json.dumps(
    {"type": "message_start", "message": {"id": "1", "type": "message", "role": "assistant", "content": [], "model": "m",
     "usage": {"input_tokens": 1, "output_tokens": 1}}}
)


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kind, answer = EVENTS, ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = Server.answer.encode()
        self.send_response(200)
        self.send_header("content-type", Server.kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
says = [{"role": "user", "content": "hello"}]


def by_openai():
    client = openai.OpenAI(base_url=url, api_key="none")
    return client.chat.completions.create(model="m", messages=says, stream=True)


def by_anthropic():
    client = anthropic.Anthropic(base_url=url, api_key="none")
    return client.messages.create(model="m", max_tokens=9, messages=says, stream=True)


def see(what: str, ask, answer: str, kind: str = EVENTS) -> None:
    Server.kind, Server.answer = kind, answer
    try:
        found = list(ask())
        without = sum(getattr(one, "choices", 0) is None for one in found)
        print(f"{what}: {len(found)} event(s), {without} without choices, no error")
    except (openai.APIError, anthropic.APIError) as error:
        print(f"{what}: raises {type(error).__name__}")


see("openai, a stream", by_openai, f"data: {CHUNK}\n\ndata: [DONE]\n\n")
see("openai, a whole completion", by_openai, COMPLETION, WHOLE)
see("openai, event: error", by_openai, 'event: error\ndata: {"message": "overloaded"}\n\n')
see("openai, an error in data", by_openai, 'data: {"error": {"message": "overloaded"}}\n\n')
see("anthropic, named events", by_anthropic, f"event: message_start\ndata: {START}\n\n")
see("anthropic, events without a name", by_anthropic, f"data: {START}\n\n")
PY
)
printf '%s\n' "$seen"
for told in "openai, a stream: 1 event(s), 0 without choices, no error" \
    "openai, a whole completion: 0 event(s), 0 without choices, no error" \
    "openai, event: error: 1 event(s), 1 without choices, no error" \
    "openai, an error in data: raises APIError" \
    "anthropic, named events: 1 event(s), 0 without choices, no error" \
    "anthropic, events without a name: 0 event(s), 0 without choices, no error"; do
    grep -qxF "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
done
