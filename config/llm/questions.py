"""Questions for `chat.py`, streamed, and a line a second of who answered: standard library alone.

    python config/llm/questions.py http://127.0.0.1:8080 --rate 40 --seconds 60

Exit code 1 when a request failed.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

THREADS = 8


class Client(threading.Thread):
    """Asks one question after the other, at an even pace."""

    def __init__(self, host: str, pause: float, end: float, seen: "Counter[str]") -> None:
        super().__init__()
        self.host, self.pause, self.end, self.seen = host, pause, end, seen

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        due = time.monotonic() + random.random() * self.pause
        while due < self.end:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self.pause, time.monotonic() - 1)
            try:
                self.seen[ask(connection)] += 1
            except (OSError, http.client.HTTPException):
                self.seen["no answer"] += 1
                connection.close()


def ask(connection: http.client.HTTPConnection) -> str:
    """One question; the upstream that answered it, or the status of an error."""
    article = f"RUN-{random.randrange(10_000)}"
    stock = f"Do you have the {article} in size {random.randrange(36, 47)}?"
    question = random.choice([stock, f"Can I send my {article} back?"])
    messages = [{"role": "user", "content": question}]
    body = {"model": "shoes", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200 or not said.endswith(b"data: [DONE]\n\n"):
        return f"status {answer.status}"
    return answer.headers.get("x-served-by", "?")


def main() -> int:
    parser = argparse.ArgumentParser(description="Questions for a language model.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=40.0, help="questions per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    seen: Counter[str] = Counter()
    end = time.monotonic() + given.seconds
    clients = [Client(urlsplit(given.url).netloc, THREADS / given.rate, end, seen) for _ in range(THREADS)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        time.sleep(1)
        print("answered by", ", ".join(f"{name}: {n}" for name, n in sorted(seen.items())) or "nobody", flush=True)
    return int(any(name.startswith(("status", "no answer", "?")) for name in seen))


if __name__ == "__main__":
    sys.exit(main())
