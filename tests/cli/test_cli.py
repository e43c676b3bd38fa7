"""Promise: every command says what it did or what is wrong, in words, with exit code 0, 1 or 2."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from proxy import __version__, supervisor
from proxy import demo as play
from proxy.built import DATA_PATH
from proxy.cli import main
from proxy.cli.table import follow, overview
from proxy.errors import AddressError

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = str(ROOT / "config" / "quickstart.yaml")
BAD = "upstreams: {m: {url: http://a}}\nroutes: [{name: r, live: n}]\nservr: {}\n"

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
    "ledger": {"sampled": 2400, "compared": 2310, "shed": 90, "too_large": 0, "too_long": 0, "client_gone": 0,
               "live_failed": 0, "unparseable": 0, "link_full": 0, "pending": 0},
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
        if self.path.startswith("/api/v1/rollouts/credit/credit-v2"):
            return 200, json.dumps(ROLLOUT).encode()
        return 404, b'{"title": "Not Found", "status": 404}'

    def log_message(self, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    with FakeAdmin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def run(*args: str, admin: FakeAdmin | None = None, **environ: str) -> Result:
    where = {"UNDERSTUDY_ADMIN_URL": admin.url} if admin else {}
    return CliRunner().invoke(main, list(args), env={**where, **environ})


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_tells_the_plan_and_the_time_it_takes() -> None:
    result = run("check", "--config", QUICKSTART, "--rate", "250")
    assert result.exit_code == 0
    for part in ("Rollout fraud/fraud-v2", "1. shadow: 100% of requests", "2. canary-5:", "at 250/s", "3,300 blocks"):
        assert part in result.output


def test_check_names_every_mistake_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    result = run("check", "-c", str(file))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "line 3: servr: unknown key (did you mean `server`?)" in result.stderr
    assert "routes[0].live: there is no upstream `n`" in result.stderr


def test_check_speaks_json(tmp_path: Path) -> None:
    good = json.loads(run("check", "-c", QUICKSTART, "--json").output)
    assert good["ok"]
    assert good["plans"]["fraud/fraud-v2"]["stages"][1]["percent"] == 5.0
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    result = run("check", "-c", str(file), "--json")
    assert result.exit_code == 2
    assert {mistake["path"] for mistake in json.loads(result.output)["mistakes"]} == {"servr", "routes[0].live"}


def test_check_prints_the_schema() -> None:
    assert json.loads(run("check", "--schema").output)["title"] == "Understudy configuration"


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_file_that_cannot_be_read_is_bad_usage(command: str, tmp_path: Path) -> None:
    result = run(command, "-c", str(tmp_path / "nowhere.yaml"))
    assert result.exit_code == 2
    assert "nowhere.yaml: No such file or directory" in result.output


def test_check_wants_a_file_and_takes_it_from_the_environment() -> None:
    assert run("check").exit_code == 2
    assert run("check", UNDERSTUDY_CONFIG=QUICKSTART).exit_code == 0


# --- serve and demo --------------------------------------------------------------------------------------------------


def test_serve_starts_nothing_with_a_bad_file(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 2
    assert "did you mean `server`?" in done.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_serve_gives_the_exit_code_of_the_proxy_and_its_errors_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "run", lambda path: 0 if str(path) == QUICKSTART else 1)
    assert run("serve", "-c", QUICKSTART).exit_code == 0
    assert run("serve", "-c", str(ROOT / "config" / "full.yaml")).exit_code == 1

    def taken(path: Path) -> int:
        raise AddressError("cannot listen on 0.0.0.0:8080: Address already in use")

    monkeypatch.setattr(supervisor, "run", taken)
    result = run("serve", "-c", QUICKSTART)
    assert (result.exit_code, "cannot listen on" in result.stderr) == (2, True)


def test_demo_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []
    monkeypatch.setattr(play, "main", lambda *, keep, as_json: asked.append((keep, as_json)) or int(keep))
    assert [run("demo").exit_code, run("demo", "--keep").exit_code, run("demo", "--json").exit_code] == [0, 1, 0]
    assert asked == [(False, False), (True, False), (False, True)]


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_is_a_table_that_a_person_can_read(admin: FakeAdmin) -> None:
    result = run("status", admin=admin)
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if line.strip().startswith("max_disagreement  "))
    assert re.split(r" {2,}", row.strip()) == [
        "max_disagreement", "1.3%", "0.9% … 1.8%", "2%", "14%", "2,310", "5.7 min", "inconclusive",
    ]  # fmt: skip
    for part in (
        "canary-5 (2 of 3), weight 5%",
        "Waits for 340 more pairs.",
        "2,310 compared, 90 shed",
        "3 timeout",
        "answers that differ as answers: 4 status class",
        "! tenant",
        "! live's answers cannot be read: missing_output at /a?[2J: 2 of 9 pairs",
        "1.13x",
        "21ms   20.2ms … 1.5s   250ms",
    ):
        assert part in result.output


def test_what_a_client_named_cannot_move_the_cursor(admin: FakeAdmin) -> None:
    assert "\x1b" not in click.unstyle(overview([ROLLOUT]))


def test_status_as_json_is_what_the_api_said(admin: FakeAdmin) -> None:
    assert json.loads(run("status", "--json", admin=admin).output) == {"rollouts": [ROLLOUT]}
    assert json.loads(run("status", "credit/credit-v2", "--json", admin=admin).output) == ROLLOUT


def test_status_without_rollouts_says_what_to_do(admin: FakeAdmin) -> None:
    admin.rollouts = []
    assert "Name a candidate" in run("status", admin=admin).output


def interrupted_at_the_third(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a watch, seconds, of which a person breaks off the third."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    return naps


def test_status_says_which_addresses_are_left_out(admin: FakeAdmin) -> None:
    shown = run("status", admin=admin).output
    assert "credit-v1: 1 of 2 addresses used by all workers" in shown
    assert "  10.0.0.2:80 left out by 1 of 2 workers, 1,200 errors, left out 3 times so far" in shown
    assert "credit-v2:" not in shown, "one address that is used needs no line"
    assert "other:" not in shown


def test_watch_draws_again_until_interrupted(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = interrupted_at_the_third(monkeypatch)
    result = run("status", "--watch", "--interval", "0.5", admin=admin)
    assert (result.exit_code, naps, len(admin.asked)) == (0, [0.5] * 3, 6)


def test_watch_as_json_is_a_line_each_time(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_at_the_third(monkeypatch)
    lines = run("status", "--watch", "--json", admin=admin).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"rollouts": [ROLLOUT]}] * 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_drawn_over_from_the_top_and_nothing_old_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, texts = Terminal(), iter(["long line\nand another", "short"])

    def nap(seconds: float) -> None:
        if "short" in terminal.getvalue():
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(KeyboardInterrupt):
        follow(lambda: next(texts), 2.0, as_json=False)
    _, first, second = terminal.getvalue().split("\x1b[H")[-3:]
    assert first.startswith("long line\x1b[K\nand another\x1b[K\n\x1b[K\n")
    assert second.startswith("short\x1b[K\n\x1b[K\n")
    assert second.endswith("\x1b[J")
    assert "again every 2 s" in second


def test_watch_outlives_a_controller_that_restarts_but_not_a_first_refusal(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([(503, b"<html>"), None])

    def nap(seconds: float) -> None:
        try:
            admin.answer = next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    result = run("status", "--watch", admin=admin)
    assert (result.exit_code, len(admin.asked)) == (0, 5)
    before, after = result.stdout.split("refused (503): Service Unavailable")
    assert "credit/credit-v2" in before
    assert "credit/credit-v2" in after
    admin.answer = (503, b"<html>")
    assert run("status", "--watch", admin=admin).exit_code == 1


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["promote", "abort", "pause", "resume", "retry"])
def test_a_hand_action_is_sent_with_who_and_why(admin: FakeAdmin, action: str) -> None:
    result = run(action, "credit/credit-v2", "--reason", "so be it", "--actor", "ada", "--token", "t", admin=admin)
    assert result.exit_code == 0
    assert "credit/credit-v2" in result.output
    body = {"reason": "so be it", "actor": "ada", "full": False}
    assert admin.asked == [("POST", f"/api/v1/rollouts/credit/credit-v2/{action}", "Bearer t", body)]


def test_full_is_for_promote_only(admin: FakeAdmin) -> None:
    assert run("promote", "credit/credit-v2", "--reason", "r", "--full", "--json", admin=admin).exit_code == 0
    assert admin.asked[0][3]["full"] is True
    assert run("abort", "credit/credit-v2", "--reason", "r", "--full", admin=admin).exit_code == 2


def test_an_actor_is_filled_in(admin: FakeAdmin) -> None:
    run("pause", "credit/credit-v2", "--reason", "r", admin=admin)
    assert re.fullmatch(r"\S+@\S+", admin.asked[0][3]["actor"])


def test_a_reason_is_asked_for(admin: FakeAdmin) -> None:
    assert run("abort", "credit/credit-v2", admin=admin).exit_code == 2
    assert admin.asked == []


@pytest.mark.parametrize("args", [("status", "credit/credit-v3"), ("abort", "credit/credit-v3", "--reason", "r")])
def test_a_rollout_that_is_not_there_has_a_neighbour(admin: FakeAdmin, args: tuple[str, ...]) -> None:
    result = run(*args, admin=admin)
    assert result.exit_code == 1
    assert "there is no rollout `credit/credit-v3` (did you mean `credit/credit-v2`?)" in result.stderr


def test_a_name_that_cannot_be_one_is_never_sent(admin: FakeAdmin) -> None:
    for name in ("credit", "a/b/c", "/x"):
        assert "ROUTE/CANDIDATE" in run("status", name, admin=admin).stderr
    assert admin.asked == []


# --- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b""), "wants a token: --token or UNDERSTUDY_ADMIN_TOKEN"),
        ((409, b'{"title": "Conflict", "detail": "already promoted"}'), "refused (409): already promoted"),
        ((503, b"<html>"), "refused (503): Service Unavailable"),
        ((403, b'["x"]'), "refused (403): Forbidden"),
        ((200, b"hello"), "does not answer like an understudy admin port"),
        ((200, b"[]"), "does not answer like an understudy admin port"),
        ((200, b'{"score": 0.5}'), "does not answer like an understudy admin port"),  # a model server's port
    ],
)
def test_a_refusal_is_told_in_words(admin: FakeAdmin, answer: tuple[int, bytes], said: str) -> None:
    admin.answer = answer
    result = run("abort", "credit/credit-v2", "--reason", "r", admin=admin)
    assert result.exit_code == 1
    assert said in result.stderr


def test_no_proxy_at_the_address_is_told_in_words(admin: FakeAdmin) -> None:
    with FakeAdmin() as gone:
        url = gone.url
    result = run("status", "--admin", url)
    assert result.exit_code == 1
    assert f"cannot reach the admin port at {url}" in result.stderr
    for wrong in ("file:///etc/passwd", "http://[::1", "http://127.0.0.1:99999", "127.0.0.1:9090", "http://"):
        assert f"{wrong} is not a URL" in run("status", "--admin", wrong).stderr


def test_a_token_that_is_wrong_or_cannot_be_one_is_told_in_words(admin: FakeAdmin) -> None:
    assert run("status", "--token", "abc\n", admin=admin).exit_code == 0
    assert admin.asked[-1][2] == "Bearer abc"
    admin.answer = (401, b"")
    assert "takes another token than the one given" in run("status", "--token", "abc", admin=admin).stderr
    for token in ("a\nb", "päß€"):
        result = run("status", "--token", token, admin=admin)
        assert result.exit_code == 1
        assert "the token is not text in ASCII" in result.stderr
        assert token not in result.stderr


def test_no_color_is_heeded(admin: FakeAdmin) -> None:
    for asked, coloured in (("", True), ("1", False)):
        environ = {"UNDERSTUDY_ADMIN_URL": admin.url, "NO_COLOR": asked}
        result = CliRunner().invoke(main, ["status"], env=environ, color=True)
        assert ("\x1b[" in result.stdout) is coloured


def test_a_misspelt_command_has_a_neighbour() -> None:
    result = run("promot")
    assert result.exit_code == 2
    assert "did you mean `promote`?" in result.stderr


# --- help and completion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(main.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = run(name, "--help").output
    assert f"understudy {name}" in text or name == "serve"
    assert "Example" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    assert "_UNDERSTUDY_COMPLETE" in run("completion", shell).output


def test_names_of_rollouts_are_completed_from_the_running_proxy(admin: FakeAdmin) -> None:
    where = {"COMP_WORDS": "understudy abort cre", "COMP_CWORD": "2", "_UNDERSTUDY_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(
        main, [], env={**where, "UNDERSTUDY_ADMIN_URL": admin.url}, prog_name="understudy", complete_var=None
    )
    assert "credit/credit-v2" in result.output


def test_the_module_is_the_program() -> None:
    command = [sys.executable, "-m", "proxy", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.stdout == f"understudy {__version__}, data path {DATA_PATH}\n"
