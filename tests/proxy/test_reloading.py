"""Promise: after a refusal it is the refused files that are looked at: a repair is noticed wherever it is made; until
then nothing is tried again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from proxy.config_file import ConfigRead
from proxy.config_reader import read_file
from proxy.errors import ConfigError, UnderstudyError
from proxy.forks import ForkServer
from proxy.handover import PACKAGE_PARENT, what_it_wrote
from proxy.reloading import ConfigInForce, read_again, read_first

MAIN = "upstreams: {m: {url: 'http://127.0.0.1:1'}}\ndefault: {live: m}\n"
TEAM = "owner: a\nupstreams: {a: {url: 'http://127.0.0.1:2'}}\n"


async def here(path: Path) -> ConfigRead:
    """Read in this process: in one of its own each attempt would take half a second."""
    try:
        return read_file(path)
    except OSError as error:
        raise UnderstudyError(str(error)) from error


def in_force(path: Path) -> ConfigInForce:
    return ConfigInForce(path, read_file(path), here)


async def attempts(config: ConfigInForce) -> list[str]:
    """What comes of five looks."""
    found = []
    for _ in range(5):
        if config.changes.look(config.watched.signature()):
            found.append(await config.reload("watch", []))
    return found


BROKEN_TEAM = "include: teams/*.yaml\n", "teams/a.yaml", TEAM.replace("owner", "ownr")
NO_FILE = "include: teams/*.yaml\n", "teams/a.yaml", None
NO_SECRET = "admin: {token: '${file:tok}'}\n", "tok", None
TEAMS_SECRET = "include: teams/*.yaml\n", "tok", None
OWNERS_SECRET = "include: teams/*.yaml\n", "tok", None
MENDED = {"teams/a.yaml": TEAM, "tok": "0123456789-0123456789-0123456789"}


@pytest.mark.parametrize(
    ("added", "broken", "text", "team"),
    [
        (*BROKEN_TEAM, None),
        (*NO_FILE, None),
        (*NO_SECRET, None),
        (*TEAMS_SECRET, TEAM.replace("2'}", "2', headers: {set: {x-key: '${file:tok}'}}}")),
        (*OWNERS_SECRET, TEAM.replace("owner: a", "owner: '${file:tok}'")),
    ],
)
async def test_a_repair_is_noticed_in_what_the_refused_file_names(
    added: str, broken: str, text: str | None, team: str | None, tmp_path: Path
) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    (tmp_path / "teams").mkdir()
    config = in_force(main)
    assert await attempts(config) == []
    if text is not None:
        (tmp_path / broken).write_text(text)
    if team is not None:
        (tmp_path / "teams" / "a.yaml").write_text(team)
    main.write_text(added + MAIN)
    (error,) = await attempts(config)
    assert error
    assert await attempts(config) == []
    (tmp_path / broken).write_text(MENDED[broken])
    assert await attempts(config) == [""]
    assert config.generation == 2
    assert await attempts(config) == []


async def test_what_needs_a_restart_is_tried_once(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    (tmp_path / "a.yaml").write_text(TEAM)
    config = in_force(main)
    main.write_text("include: a.yaml\nstore: {path: other.db}\n" + MAIN)
    assert await attempts(config) == ["store needs a restart"]
    main.write_text(MAIN)
    assert await attempts(config) == [""]


async def test_a_main_file_that_is_gone_is_read_when_it_is_back(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    config = in_force(main)
    main.unlink()
    (error,) = await attempts(config)
    assert "No such file" in error
    main.write_text(MAIN)
    assert await attempts(config) == [""]


# --- in a process of its own -----------------------------------------------------------------------------------------


async def test_what_is_read_elsewhere_is_what_is_read_here(tmp_path: Path, forks: ForkServer) -> None:
    """Certificates, secrets and files of teams included: all of it comes back."""
    main = tmp_path / "main.yaml"
    main.write_text("include: teams/*.yaml\nadmin: {token: '${file:tok}'}\n" + MAIN)
    (tmp_path / "teams").mkdir()
    for name, text in MENDED.items():
        (tmp_path / name).write_text(text)
    mine = read_file(main)
    assert mine.file().owners == ((str(main), None), ("teams/a.yaml", "a"))
    assert mine.watched.secrets == ("tok",)
    assert read_first(main, forks) == await read_again(main, forks) == mine == ConfigRead.load(mine.dump())


async def test_every_mistake_comes_back_as_it_was_found(tmp_path: Path, forks: ForkServer) -> None:
    main = tmp_path / "main.yaml"
    main.write_text("include: teams/*.yaml\n" + MAIN.replace("live: m", "live: n"))
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "a.yaml").write_text(TEAM.replace("owner", "ownr"))
    mine = read_file(main)
    assert isinstance(mine.meant, ConfigError)
    for read in (read_first(main, forks), await read_again(main, forks)):
        assert isinstance(read.meant, ConfigError)
        assert (read.watched, str(read.meant)) == (mine.watched, str(mine.meant))
        assert read.meant.mistakes == mine.meant.mistakes
        with pytest.raises(ConfigError, match="3 mistakes"):
            read.file()


async def test_a_file_that_cannot_be_read_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> None:
    with pytest.raises(UnderstudyError, match="No such file or directory"):
        await read_again(tmp_path / "nowhere.yaml", forks)
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    with pytest.raises(UnderstudyError, match="can't decode"):
        read_first(tmp_path / "latin.yaml", forks)
    monkeypatch.setattr("proxy.reloading.READING", 0.001)
    with pytest.raises(UnderstudyError, match=r"not read within 0\.001 s"):
        await read_again(tmp_path / "latin.yaml", forks)
    with pytest.raises(UnderstudyError, match=r"not read within 0\.001 s"):
        read_first(tmp_path / "latin.yaml", forks)


async def test_a_process_that_reads_does_not_outlive_its_caller() -> None:
    """One that took too long was killed and not waited for: its end was told to a loop that had closed."""
    for seconds in (0.001, 60.0):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import signal; signal.pause()", stdout=PIPE, stderr=PIPE
        )
        waiting = asyncio.create_task(what_it_wrote(process, seconds))
        if seconds > 1:
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError if seconds > 1 else TimeoutError):
            await waiting
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGINT"])
def test_a_start_that_is_told_to_stop_while_it_reads_ends_in_silence(how: str, tmp_path: Path) -> None:
    """As one that serves does, with the process that reads: a terminal's Ctrl-C goes to both."""
    os.mkfifo(file := tmp_path / "fifo.yaml")
    code = "import sys, pathlib, proxy.supervisor; sys.exit(proxy.supervisor.run(pathlib.Path(sys.argv[1])))"
    command = (sys.executable, "-P", "-c", code, str(file))
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=environment) as process:
        writes = os.open(file, os.O_WRONLY)  # when the other one has opened it to read
        try:
            if how == "Ctrl-C":
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.send_signal(getattr(signal, how))
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, b"")
            with pytest.raises(BrokenPipeError):
                os.write(writes, b"nobody reads")
        finally:
            os.close(writes)
            process.kill()
