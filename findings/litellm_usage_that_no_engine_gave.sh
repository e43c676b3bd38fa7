#!/usr/bin/env bash
# LiteLLM's proxy 1.108.7 (litellm[proxy]) in front of an OpenAI-compatible engine that reports no `usage`.
#
# One would guess: an answer without `usage` stays one without, whole or streamed; who counts tokens can tell "not said"
# from "none".
# What happens: the whole answer gets `usage` with three zeros. The same answer as a stream with
# `stream_options.include_usage` gets counts of LiteLLM's own tokenizer (more than zero), and the engine is asked for
# usage even where the client did not. So one engine's same answer costs nothing, or something, by how it was asked for.
# Why it matters: whoever bills, bounds or compares costs by `usage` takes an engine behind this gateway for free, or
# compares one engine's own counts with the gateway's. Zeros in an answer that has text must be read as "not said", and
# two models are best counted in one way.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'litellm[proxy]==1.108.7' 2>/dev/null
cat >"$folder/engine.py" <<'PY'
import http.server
import json
import sys

CHUNK = {"id": "e-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "engine-7b"}
DELTAS = ({"role": "assistant", "content": "yes"}, {"content": ", it is"}, {})


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with open(sys.argv[1], "a") as seen:
            print(json.dumps(asked.get("stream_options")), file=seen)
        if asked.get("stream"):
            choices = [{"index": 0, "delta": d, "finish_reason": None if d else "stop"} for d in DELTAS]
            events = [json.dumps({**CHUNK, "choices": [choice]}) for choice in choices]
            body = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
            kind = "text/event-stream"
        else:
            message = {"role": "assistant", "content": "yes, it is"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            body, kind = json.dumps({**CHUNK, "object": "chat.completion", "choices": [choice]}).encode(), "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >"$folder/see.py" <<'PY'
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

folder = Path(sys.argv[1])
engine = subprocess.Popen([sys.executable, folder / "engine.py", folder / "seen"], stdout=subprocess.PIPE, text=True)
to = {"model": "openai/engine-7b", "api_base": f"http://127.0.0.1:{engine.stdout.readline().strip()}/v1", "api_key": "x"}
(folder / "config.yaml").write_text(json.dumps({
    "model_list": [{"model_name": "m", "litellm_params": to}],
    "general_settings": {"master_key": "sk-" + "5b1e9c07d2f84a63" * 3},
}))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [folder / "venv/bin/litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
with open(folder / "log", "w") as log:
    gateway = subprocess.Popen(command, stdout=log, stderr=log)


def ask(**more):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "is it?"}], **more}).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer sk-" + "5b1e9c07d2f84a63" * 3}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.read().decode()


def usage(text):
    found = [json.loads(part).get("usage") for part in text.replace("data: ", "").split("\n") if part.startswith("{")]
    found = [one for one in found if one]
    return [found[0][name] for name in ("prompt_tokens", "completion_tokens")] if found else None


try:
    for _ in range(400):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).close()
            break
        except OSError:
            assert gateway.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.3)
    whole = usage(ask())
    plain = usage(ask(stream=True))
    wanted = usage(ask(stream=True, stream_options={"include_usage": True}))
    asked = [json.loads(line) for line in (folder / "seen").read_text().splitlines()]
    print("usage of the engine: none. Tokens in and out by the gateway")
    print("  whole answer:                ", whole)
    print("  stream:                      ", plain)
    print("  stream, with include_usage:  ", wanted)
    print("stream_options that the engine got for the three:", asked)
    assert whole == [0, 0] and plain is None and min(wanted) > 0
    assert asked == [None, {"include_usage": True}, {"include_usage": True}]
finally:
    gateway.terminate()
    engine.terminate()
PY
"$folder/venv/bin/python" "$folder/see.py" "$folder"
