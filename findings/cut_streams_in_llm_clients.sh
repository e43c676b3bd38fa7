#!/usr/bin/env bash
# openai 3.52.0 and anthropic 2.14.0 (Python), on Linux.
#
# One would guess: the streaming helpers, which put a stream together into one answer (`chat.completions.stream`,
# `messages.stream`), raise an error when the stream ends before it says that it has ended: without `[DONE]` and a finish
# reason, without `message_stop` and a stop reason.
# What happens: both return what there is as the final answer. Only its `finish_reason` or `stop_reason`, which is None,
# tells it from a whole one.
# Why it matters: an engine that is killed, or a gateway that closes its upstream, ends the chunked message properly and the
# stream in mid-sentence. Nothing fails at the client: no exception, no error in its metrics. What compares answers has to
# look at the end of the stream itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openai==3.52.0 anthropic==2.14.0 2>/dev/null
cat >"$folder/see.py" <<'PY'
import http.server
import json
import threading
from typing import Any

import anthropic
import openai

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
           "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Do not"}, "finish_reason": None}]},
    ],
    "/v1/messages": [
        {"type": "message_start", "message": MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Do not"}},
    ],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in STREAMS[self.path]:
            name = f"event: {event['type']}\n" if "type" in event else ""
            piece = f"{name}data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")  # a proper end of the message, in the midst of the answer

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "May I?"}]}

with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0).chat.completions.stream(**asked) as stream:
    choice = stream.get_final_completion().choices[0]
print("openai:", choice.message.content, choice.finish_reason)
with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0).messages.stream(max_tokens=9, **asked) as events:
    message = events.get_final_message()
print("anthropic:", message.content[0].text, message.stop_reason)
assert (choice.message.content, choice.finish_reason) == ("Do not", None), "openai has changed"
assert (message.content[0].text, message.stop_reason) == ("Do not", None), "anthropic has changed"
PY
"$folder/venv/bin/python" "$folder/see.py"
echo "Seen: a stream that was cut is a final answer to both clients."
