"""Promise: a process that reads the configuration may be of another version, or broken, or noisy: what it said is told
in one sentence, and the next reload is read as ever."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import orjson
import pytest

from proxy import handover
from proxy.config_reader import read_file
from proxy.config_watch import Changes, watch
from proxy.errors import UnderstudyError
from proxy.forks import ForkedProcess, ForkServer
from proxy.handover import PACKAGE_PARENT
from proxy.reloading import ConfigInForce, read_again, read_first

MAIN = "upstreams: {m: {url: 'http://127.0.0.1:1'}}\ndefault: {live: m}\n"
Installed = Callable[[str], int]
AT_THE_BEGINNING = """
import os, runpy, sys

def begin():
    exec(open({code!r}).read())

def run(name, **how):
    if name == "proxy.behind":
        begin()
    return whole(name, **how)

if "proxy.preflight" in sys.orig_argv:
    begin()
runpy.run_module, whole = run, runpy.run_module
"""


@pytest.fixture(scope="module")
def begins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The code that each process that reads runs at first."""
    folder = tmp_path_factory.mktemp("site")
    (code := folder / "code").write_text("")
    (folder / "sitecustomize.py").write_text(AT_THE_BEGINNING.format(code=str(code)))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("proxy.forks", "proxy.handover"):
            patch.setattr(f"{module}.PACKAGE_PARENT", f"{folder}:{PACKAGE_PARENT}")
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield code


@pytest.fixture(scope="module")
def forks(begins: Path) -> Iterator[ForkServer]:
    """One server for all of these tests: its own start costs more than all that its forks do."""
    with closing(ForkServer()) as server:
        yield server


def in_force(path: Path, forks: ForkServer) -> ConfigInForce:
    return ConfigInForce(path, read_file(path), partial(read_again, forks=forks))


@pytest.fixture
def main(tmp_path: Path) -> Path:
    file = tmp_path / "main.yaml"
    file.write_text(MAIN)
    return file


@pytest.fixture
def installed(begins: Path) -> Iterator[Installed]:
    """Have each process that reads run this at first."""
    yield begins.write_text
    begins.write_text("")


def answering(answer: bytes, code: int = 0, to: int = 1) -> str:
    return f"os.write({to}, {answer!r}); os._exit({code})"


def another(main: Path, **changed: object) -> bytes:
    """The answer of another version."""
    told = orjson.loads(read_file(main).dump())
    told["file"]["tree"]["threads"] = 3
    return orjson.dumps({**told, **changed})


@pytest.mark.parametrize("which", ["newer", "renumbered", "empty", "text", "list", "null", "watched", "mistakes"])
async def test_another_answer_is_told_in_one_sentence(
    which: str, main: Path, installed: Installed, forks: ForkServer
) -> None:
    answers = {
        "newer": another(main),
        "renumbered": another(main, version="9.9.9"),
        "empty": b"",
        "text": b"hello\n",
        "list": b"[]",
        "null": b"null",
        "watched": another(main, watched=["a", "b"]),
        "mistakes": another(main, file=None),
    }
    installed(answering(answers[which]))
    for reading in (asyncio.to_thread(read_first, main, forks), read_again(main, forks)):
        with pytest.raises(UnderstudyError, match="another version may have been installed, which SIGUSR2") as error:
            await reading
        assert "\n" not in str(error.value)
    if which == "renumbered":
        assert "version 9.9.9" in str(error.value)


def test_who_is_told_to_stop_while_the_files_begin_to_be_read_leaves_no_reader_behind(
    main: Path, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[ForkedProcess] = []

    def begins(*argv: str, descriptors: dict[int, int]) -> ForkedProcess:
        begun.append(start(*argv, descriptors=descriptors))
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return begun[0]

    start = forks.start
    monkeypatch.setattr(forks, "start", begins)
    pipe = main.with_name("pipe")
    os.mkfifo(pipe)  # nobody writes
    with pytest.raises(KeyboardInterrupt):
        read_first(pipe, forks)
    assert begun[0].wait_now(10.0) == -signal.SIGKILL


async def test_a_reload_that_meets_another_version_is_refused_and_the_next_one_is_not(
    main: Path, installed: Installed, forks: ForkServer
) -> None:
    config = in_force(main, forks)
    installed(answering(another(main)))
    assert "another version" in await config.reload("ann", [])
    assert config.shown()["refused"]["by"] == "ann"
    installed("")
    assert await config.reload("ann", []) == ""
    assert config.shown()["refused"] is None


@pytest.mark.parametrize("how", ["print('hello')", "print('hello', flush=True)", "os.write(1, b'hello')"])
async def test_what_others_write_is_no_part_of_the_answer(
    how: str, main: Path, installed: Installed, forks: ForkServer
) -> None:
    """At the start of the process, and at its end."""
    installed(f"import atexit\n{how}\natexit.register(lambda: {how})")
    mine = read_file(main)
    assert await asyncio.to_thread(read_first, main, forks) == await read_again(main, forks) == mine
    assert await handover.preflight(main, mine.file().tree.fixed) == ""


@pytest.mark.parametrize("answer", [b"", b"hello", b"[1]", b"7"])
async def test_a_new_version_that_answers_otherwise_is_refused(
    answer: bytes, main: Path, installed: Installed, forks: ForkServer
) -> None:
    installed(answering(answer))
    assert "another answer" in await handover.preflight(main, read_file(main).file().tree.fixed)


async def test_a_process_that_breaks_is_told_without_its_traceback(
    main: Path, installed: Installed, forks: ForkServer
) -> None:
    installed(answering(b"Traceback (most recent call last):\n  File x\nImportError: no yaml\n", 1, 2))
    for reading in (asyncio.to_thread(read_first, main, forks), read_again(main, forks)):
        with pytest.raises(UnderstudyError) as error:
            await reading
        assert str(error.value) == "the process that reads the configuration ended with 1: ImportError: no yaml"


async def test_files_are_watched_on_after_a_reload_that_broke(main: Path) -> None:
    watched, looks, ended = read_file(main).watched, 0, asyncio.Event()

    async def reload() -> None:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise RuntimeError("a bug")
        ended.set()

    watching = asyncio.create_task(watch(lambda: watched, Changes(()), lambda: 0.0, reload))
    await asyncio.wait({watching, waiting := asyncio.create_task(ended.wait())}, return_when="FIRST_COMPLETED")
    assert waiting.done()
    watching.cancel()
