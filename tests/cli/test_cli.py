"""Promise: every command says what it did or what is wrong, in words, with exit code 0, 1 or 2."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy import __version__, supervisor
from proxy import demo as play
from proxy.built import DATA_PATH
from proxy.cli import COMMANDS, command, main
from proxy.errors import AddressError
from tests.cli.admins import FakeAdmin, run

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = str(ROOT / "config" / "quickstart.yaml")
BAD = "upstreams: {m: {url: http://a}}\nroutes: [{name: r, live: n}]\nservr: {}\n"


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
    asked: list[tuple[bool, bool, bool]] = []
    monkeypatch.setattr(play, "main", lambda *, keep, as_json, loop: asked.append((keep, as_json, loop)) or int(keep))
    given = [(), ("--keep",), ("--json",), ("--loop",)]
    assert [run("demo", *one).exit_code for one in given] == [0, 1, 0, 0]
    assert asked == [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["promote", "abort", "pause", "resume", "retry"])
def test_a_hand_action_is_sent_with_why(admin: FakeAdmin, action: str) -> None:
    result = run(action, "credit/credit-v2", "--reason", "so be it", "--token", "t", admin=admin)
    assert result.exit_code == 0
    assert "credit/credit-v2" in result.output
    body = {"reason": "so be it", "full": False}
    assert admin.asked == [("POST", f"/api/v1/rollouts/credit/credit-v2/{action}", "Bearer t", body)]


def test_full_is_for_promote_only(admin: FakeAdmin) -> None:
    assert run("promote", "credit/credit-v2", "--reason", "r", "--full", "--json", admin=admin).exit_code == 0
    assert admin.asked[0][3]["full"] is True
    assert run("abort", "credit/credit-v2", "--reason", "r", "--full", admin=admin).exit_code == 2


def test_a_reason_is_asked_for(admin: FakeAdmin) -> None:
    assert run("abort", "credit/credit-v2", admin=admin).exit_code == 2
    assert admin.asked == []


@pytest.mark.parametrize("args", [("status", "credit/credit-v3"), ("abort", "credit/credit-v3", "--reason", "r")])
def test_a_rollout_that_is_not_there_has_a_neighbour(admin: FakeAdmin, args: tuple[str, ...]) -> None:
    result = run(*args, admin=admin)
    assert result.exit_code == 1
    assert "no rollout `credit/credit-v3` (did you mean `credit/credit-v2`?)" in result.stderr


def test_a_name_that_cannot_be_one_is_never_sent(admin: FakeAdmin) -> None:
    for name in ("credit", "a/b/c", "/x"):
        assert "ROUTE/CANDIDATE" in run("status", name, admin=admin).stderr
    assert admin.asked == []


# --- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b""), "requires a token: --token or UNDERSTUDY_ADMIN_TOKEN"),
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
    assert "does not accept this token" in run("status", "--token", "abc", admin=admin).stderr
    for token in ("a\nb", "päß€"):
        result = run("status", "--token", token, admin=admin)
        assert result.exit_code == 1
        assert "the token has characters that are not allowed" in result.stderr
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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert COMMANDS[name][1].rstrip(".") in " ".join((command(name).help or "").split())
    assert gc.isenabled(), "its import only goes without"
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
