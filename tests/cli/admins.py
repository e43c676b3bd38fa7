"""An admin port for tests of the command line, and the command line itself."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.model import PARTS

ROLLOUT: dict[str, Any] = {
    "name": "credit/credit-v2", "route": "credit", "live": "credit-v1", "candidate": "credit-v2", "version": "7",
    "state": "canary", "paused": False, "blocked_by": None,
    "stage": {"index": 1, "name": "canary-5", "entered_at": "2026-11-21T09:00:00Z",
              "waiting_for": "Waits for 340 more pairs."},
    "stages": ["shadow", "canary-5", "canary-25"], "weight": 5.0, "verdict": "inconclusive",
    "findings": [
        {"guard": "max_disagreement", "segment": None, "verdict": "inconclusive", "value": 0.013, "low": 0.009,
         "high": 0.018, "limit": 0.02, "unit": "percent", "evidence": 0.14, "pairs": 2310, "eta_seconds": 340.0,
         "reason": "not yet"},
        {"guard": "p99_latency", "segment": None, "verdict": "inconclusive", "value": 1.13, "low": None, "high": None,
         "limit": 1.2, "unit": "times", "evidence": 0.1, "pairs": 310, "eta_seconds": None, "reason": "not yet"},
        {"guard": "median_latency", "segment": None, "verdict": "pass", "value": 0.021, "low": 0.0202, "high": 1.5,
         "limit": 0.25, "unit": "seconds", "evidence": 0.0, "pairs": 310, "eta_seconds": None, "reason": "fine"},
        {"guard": "max_disagreement", "segment": "tenant\x1b[2J", "verdict": "fail", "value": None, "low": None,
         "high": None, "limit": 0.02, "unit": "percent", "evidence": 1.0, "pairs": 12, "eta_seconds": None,
         "reason": "tenant\x1b[2J differs"},
    ],
    "ledger": dict.fromkeys(("sampled", *PARTS, "pending"), 0) | {"sampled": 2400, "compared": 2310, "shed": 90},
    "why_unparseable": "live's answers cannot be read: missing_output at /a\x1b[2J: 2 of 9 pairs",
    "repeats": 17, "candidate_failures": {"timeout": 3}, "response_mismatches": {"status_class": 4},
}  # fmt: skip


class FakeAdmin(ThreadingHTTPServer):
    """The admin API as far as the command line uses it; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, str | None, Any]] = []
        self.answer: tuple[int, bytes] | None = None
        self.rollouts = [ROLLOUT]
        row = {"address": "10.0.0.1:80", "workers": 2, "up": 2, "requests": 9, "errors": 0, "ejections": 0}
        self.fleet: dict[str, Any] | None = None
        self.refused: dict[str, Any] | None = None
        self.upstreams = {
            "credit-v1": [row, {**row, "address": "10.0.0.2:80", "up": 1, "errors": 1200, "ejections": 3}],
            "credit-v2": [row],
            "other": [row, row],
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeAdmin

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _serve(self, body: Any) -> None:
        self.server.asked.append((self.command, self.path, self.headers["authorization"], body))
        status, data = self.server.answer or self._rollouts()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _rollouts(self) -> tuple[int, bytes]:
        if self.path == "/api/v1/rollouts":
            return 200, json.dumps({"rollouts": self.server.rollouts}).encode()
        if self.path == "/api/v1/upstreams":
            return 200, json.dumps({"upstreams": self.server.upstreams}).encode()
        if self.path == "/api/v1/fleet" and self.server.fleet is not None:
            return 200, json.dumps(self.server.fleet).encode()
        if self.path.startswith("/api/v1/rollouts/credit/credit-v2"):
            return 200, json.dumps(ROLLOUT).encode()
        if self.path == "/api/v1/config" and self.server.refused is not None:
            return 200, json.dumps({"refused": self.server.refused}).encode()
        return 404, b'{"title": "Not Found", "status": 404}'

    def log_message(self, *args: Any) -> None:
        """Silence."""


def run(*args: str, admin: FakeAdmin | None = None, **environ: str) -> Result:
    where = {"UNDERSTUDY_ADMIN_URL": admin.url} if admin else {}
    return CliRunner().invoke(main, list(args), env={**where, **environ})
