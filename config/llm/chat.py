"""A language model to try things with: OpenAI chat completions, streamed or not, on Python's standard library alone.

python config/llm/chat.py 9001                       answers questions about shoes, calls `find_stock` where it should
python config/llm/chat.py 9002 --wording new         says the same in other words
python config/llm/chat.py 9002 --refuse 0.1          refuses a tenth of the questions
python config/llm/chat.py 9002 --other-size 0.1      calls the tool with another size for a tenth of the questions
python config/llm/chat.py 9002 --first 0.3           takes 300 ms to its first word, not 20
python config/llm/chat.py 9003                       is a judge as well, where it is asked for a verdict

As a judge it prefers an answer to a refusal, and calls everything else a tie.
"""

import argparse
import json
import random
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OLD = "You can return {article} within 30 days, unworn. Print the label under My orders and hand the parcel in."
NEW = "Returning {article} is free for 30 days if you have not worn them outside. You find the label under My orders."
REFUSAL = "I'm sorry, but I can't help with that."
ANSWERS = re.compile(r"<<<(?:FIRST|SECOND) ANSWER \w+>>>\n(.*?)\n<<<END", re.S)


class Chat(BaseHTTPRequestHandler):
    """Answers `POST /v1/chat/completions`, and any GET with 200 for health checks."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    given: argparse.Namespace

    def do_GET(self) -> None:
        self.whole({"ready": True})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        question = str(asked["messages"][-1]["content"])
        message = self.verdict(question) if "response_format" in asked else self.says(question)
        time.sleep(self.given.first)
        prompt = len(json.dumps(asked["messages"])) // 4
        written = len(json.dumps(message)) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        if asked.get("stream"):
            self.stream(message, usage)
        else:
            choice = {"index": 0, "message": message, "finish_reason": ends(message)}
            self.whole({"object": "chat.completion", "model": "shoes", "choices": [choice], "usage": usage})

    def says(self, question: str) -> dict[str, Any]:
        """The answer to a question about shoes."""
        if random.random() < self.given.refuse:
            return {"role": "assistant", "content": REFUSAL}
        found = re.search(r"(RUN-\d+).*size (\d+)", question)
        if found is None:
            article = re.search(r"RUN-\d+", question)
            wording = NEW if self.given.wording == "new" else OLD
            return {"role": "assistant", "content": wording.format(article=article[0] if article else "shoes")}
        size = int(found[2]) + (random.random() < self.given.other_size)
        arguments = json.dumps({"article": found[1], "size": size})
        function = {"name": "find_stock", "arguments": arguments}
        call = {"id": f"call_{random.getrandbits(32):x}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    def verdict(self, question: str) -> dict[str, Any]:
        """Which of two answers is better, as a judge is to write it."""
        first, second = ([*ANSWERS.findall(question), "", ""])[:2]
        refused = [REFUSAL in answer for answer in (first, second)]
        said = "tie" if refused[0] == refused[1] else "second" if refused[0] else "first"
        reason = "Both do what was asked." if said == "tie" else "The other one refuses without need."
        return {"role": "assistant", "content": json.dumps({"reason": reason, "verdict": said})}

    def stream(self, message: dict[str, Any], usage: dict[str, int]) -> None:
        """The answer word by word, as events."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.event({"delta": {"role": "assistant", "content": ""}})
        for number, call in enumerate(message.get("tool_calls", ())):
            self.event({"delta": {"tool_calls": [{"index": number, **call}]}})
        for word in re.findall(r"\S+\s*", message["content"] or ""):
            self.event({"delta": {"content": word}})
        self.event({"delta": {}, "finish_reason": ends(message)})
        self.chunk({"object": "chat.completion.chunk", "model": "shoes", "choices": [], "usage": usage})
        self.piece(b"data: [DONE]\n\n")
        self.piece(b"")

    def event(self, choice: dict[str, Any]) -> None:
        choices = [{"index": 0, "finish_reason": None, **choice}]
        self.chunk({"object": "chat.completion.chunk", "model": "shoes", "choices": choices})

    def chunk(self, value: dict[str, Any]) -> None:
        self.piece(b"data: " + json.dumps(value).encode() + b"\n\n")

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def whole(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a line per request would hide everything else."""


def ends(message: dict[str, Any]) -> str:
    """Why an answer ends."""
    return "tool_calls" if message.get("tool_calls") else "stop"


class Server(ThreadingHTTPServer):
    """A thread per connection, and room for all that connect at once: with the usual 5, a sixth waits a second."""

    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser(description="A language model to try things with.")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--wording", choices=["old", "new"], default="old", help="of answers in text")
    parser.add_argument("--refuse", type=float, default=0.0, metavar="SHARE", help="of questions")
    parser.add_argument("--other-size", type=float, default=0.0, metavar="SHARE", help="of calls, with another size")
    parser.add_argument("--first", type=float, default=0.02, metavar="SECONDS", help="to the first word")
    Chat.given = parser.parse_args()
    Server((Chat.given.host, Chat.given.port), Chat).serve_forever()


if __name__ == "__main__":
    main()
