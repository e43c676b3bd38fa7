"""Requests for the quick start, and a line a second of who answered: standard library alone.

    python config/quickstart/traffic.py http://127.0.0.1:8080 --rate 200 --seconds 60

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
    """Sends requests one after the other, at an even pace."""

    def __init__(self, host: str, pause: float, end: float, seen: "Counter[str]") -> None:
        super().__init__()
        self.host, self.pause, self.end, self.seen = host, pause, end, seen

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=10)
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
    """One request; the upstream that answered it, or the status of an error."""
    amounts = [round(random.expovariate(1 / 30), 2) for _ in range(4)]
    tensor = {"name": "amounts", "datatype": "FP64", "shape": [1, 4], "data": amounts}
    connection.request("POST", "/v2/models/fraud/infer", json.dumps({"inputs": [tensor]}))
    answer = connection.getresponse()
    answer.read()
    return answer.headers.get("x-served-by", "?") if answer.status == 200 else f"status {answer.status}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Requests for the quick start.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
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
