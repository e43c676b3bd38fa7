"""Keeps the store's promise that whatever the disk does is a `StoreError` after which the next call works again, and
that a file that is taken away is written anew."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from proxy.controller.store.sqlite import database
from proxy.controller.store.sqlite.store import SqliteStore
from proxy.errors import StoreError
from tests.controller.store.stores import change


async def test_a_file_that_is_no_database_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "u.db"
    path.write_bytes(b"not a database at all" * 500)
    store = SqliteStore(path)
    assert (await store.load()).rollouts == []
    (aside,) = store.asides
    assert aside.read_bytes().startswith(b"not a database")
    await store.save(change(1))
    await store.close()


async def test_a_torn_page_is_found_at_the_start(store: SqliteStore) -> None:
    for number in range(1, 50):
        await store.save(change(number, evidence=os.urandom(5000)))
    await store.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size // 2))
    again = SqliteStore(store.path)
    assert (await again.load()).rollouts == []
    assert again.asides
    await again.close()


async def test_a_full_disk_is_a_store_error_and_passes(store: SqliteStore) -> None:
    await store.save(change(1))

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    await store.run(limit)
    with pytest.raises(StoreError, match="full"):
        await store.save(change(2, evidence=b"x" * 100_000))
    await store.save(change(3, evidence=b"x" * 100_000))  # opened anew, without the limit
    assert [s.rollout.change for s in (await store.load()).rollouts] == [3]


async def test_a_folder_that_cannot_be_written_still_gives_what_was_saved(store: SqliteStore, tmp_path: Path) -> None:
    await store.save(change(1))
    state = store.path.parent
    copy = tmp_path / "frozen"
    shutil.copytree(state, copy)  # with the log, as a killed process leaves it
    frozen = SqliteStore(copy / "u.db")

    def refuse(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    frozen._connect = refuse  # type: ignore[method-assign]
    assert [s.rollout.change for s in (await frozen.load()).rollouts] == [1]
    with pytest.raises(StoreError, match="readonly"):
        await frozen.save(change(2))
    await frozen.close()


async def test_a_place_that_cannot_be_is_a_store_error_not_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "u.db")
    with pytest.raises(StoreError):
        await store.load()
    await store.close()


async def test_a_file_of_a_newer_version_is_refused_untouched(store: SqliteStore) -> None:
    await store.save(change(1))
    await store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    again = SqliteStore(store.path)
    with pytest.raises(StoreError, match="newer"):
        await again.load()
    assert not again.asides
    await again.close()


async def test_calls_beyond_the_bound_are_refused_while_the_disk_hangs(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr(database, "MAX_WAITING", 2)
    hang = threading.Event()
    stuck = asyncio.ensure_future(store.run(lambda _: hang.wait() and None))
    queued = asyncio.ensure_future(store.save(change(1)))
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="wait for the disk"):
        await store.save(change(2))
    hang.set()
    await asyncio.gather(stuck, queued)
    assert [s.rollout.change for s in (await store.load()).rollouts] == [1]


async def test_what_is_urgent_and_the_rest_are_two_queues(store: SqliteStore) -> None:
    for number, kind in enumerate(("rollout.advanced", "rollout.rolled_back", "rollout.promoted"), 1):
        told = change(number, "http://a")
        assert told.event is not None
        await store.save(replace(told, event=replace(told.event, type=kind)))
    urgent = await store.next_delivery("http://a", 9.0, urgent=True)
    first = await store.next_delivery("http://a", 9.0, urgent=False)
    assert urgent is not None
    assert first is not None
    assert (urgent.event.type, first.event.type) == ("rollout.rolled_back", "rollout.advanced")


def remove_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def remove_database(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def remove_lock(path: Path) -> None:
    Path(f"{path}.lock").unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace_by_another(path: Path) -> None:
    with closing(sqlite3.connect(path.with_name("other"))) as other:
        other.execute("CREATE TABLE theirs (n)")
    path.with_name("other").rename(path)


def replace_by_rubbish(path: Path) -> None:
    path.with_name("other").write_text("rubbish")
    path.with_name("other").rename(path)


REMOVALS = [
    remove_all, remove_database, remove_log, remove_lock, remove_folder, move_folder, replace_by_another,
    replace_by_rubbish,
]  # fmt: skip


@pytest.mark.parametrize("removed", REMOVALS)
@pytest.mark.parametrize("noticed_by", ["check", "close"])
async def test_a_file_that_is_taken_away_is_written_anew_with_all_that_was_in_it(
    store: SqliteStore, removed: Callable[[Path], None], noticed_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.load()
    await store.save(change(1, "http://a"))
    await store.save(change(2, "http://a", name="r/d"))
    removed(store.path)
    await getattr(store, noticed_by)()
    assert store.renewed == 1
    assert [r.message for r in caplog.records] == ["store.renewed"]
    await store.close()
    again = SqliteStore(store.path)
    contents = await again.load()
    assert (contents.lost, contents.table) == ("", 2)
    assert {s.rollout.name for s in contents.rollouts} == {"r/c", "r/d"}
    assert len(await again.journal("r/c", 10)) == 1
    assert await again.delivery_counts("http://a") == {"waiting": 2}
    await again.close()
    for aside in store.path.parent.glob("*.replaced-*"):
        assert aside.read_bytes() == b"rubbish" or b"theirs" in aside.read_bytes()


async def test_a_file_is_noticed_once_and_works_on(store: SqliteStore) -> None:
    await store.load()
    for number in range(1, 4):
        remove_all(store.path)
        await store.save(change(number))
        await store.check()
        assert store.renewed == number
    assert [s.rollout.change for s in (await store.load()).rollouts] == [3]
    assert len(await store.journal("r/c", 10)) == 3


async def test_a_file_that_cannot_be_written_anew_is_said_and_kept_open_until_it_can(store: SqliteStore) -> None:
    await store.load()
    await store.save(change(1))
    folder = store.path.parent
    shutil.rmtree(folder)
    folder.write_text("a file in the way")
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.check()
    assert str(store.path) in store.trouble
    folder.unlink()
    await store.save(change(2))
    assert store.trouble == ""
    assert len(await store.journal("r/c", 10)) == 2


async def test_another_understudy_that_has_taken_the_place_keeps_it(store: SqliteStore) -> None:
    await store.load()
    await store.save(change(1))
    shutil.rmtree(store.path.parent)
    other = SqliteStore(store.path)
    await other.load()
    with pytest.raises(StoreError, match="another Understudy"):
        await store.save(change(2))
    assert (await other.load()).rollouts == []
    await other.close()
    await store.save(change(2))
    assert len(await store.journal("r/c", 10)) == 2


async def test_a_first_start_and_a_store_that_was_there_before_are_told_apart(store: SqliteStore) -> None:
    assert (await store.load()).lost == ""
    await store.save(change(1))
    await store.close()
    store.path.unlink()
    again = SqliteStore(store.path)
    assert "is gone" in (await again.load()).lost
    await again.close()
    once_more = SqliteStore(store.path)
    assert (await once_more.load()).lost == "", "it has been said, and what came of it is saved"
    await once_more.close()
    store.path.write_bytes(b"")
    emptied = SqliteStore(store.path)
    assert "is gone" in (await emptied.load()).lost
    await emptied.close()
    store.path.write_bytes(b"rubbish" * 1000)
    unsound = SqliteStore(store.path)
    assert "was corrupt" in (await unsound.load()).lost
    await unsound.close()


async def test_whoever_holds_a_store_is_named_at_once_when_it_is_to_stay(store: SqliteStore) -> None:
    await store.load()
    supervisor = await asyncio.create_subprocess_exec("sleep", "60")  # it runs, and is not ours
    assert holder_becomes(store.path, 4711, supervisor.pid) == os.getpid()
    other = SqliteStore(store.path)
    with pytest.raises(StoreError, match=r"u\.db: another Understudy uses this store \(process 4711 on "):
        await asyncio.wait_for(other.load(), 5)
    await other.close()
    supervisor.kill()
    await supervisor.wait()


WAITS = """
import sys, time
from pathlib import Path
from proxy.controller.store.sqlite.files import claim
time.sleep = lambda _: sys.exit("it waits")
claim(Path(sys.argv[1]), 60.0)
"""


async def test_a_holder_whose_supervisor_is_that_of_our_fork_server_is_waited_for(store: SqliteStore) -> None:
    """The last version's controller, whose own fork server had ended when it took the store."""
    await store.load()
    holder_becomes(store.path, 4711, os.getpid())
    fork_server = ("sh", "-c", '"$@"; exit $?', "sh")
    whoever = await asyncio.create_subprocess_exec(
        *(*fork_server, sys.executable, "-c", WAITS, str(store.path)), stderr=subprocess.PIPE
    )
    _, said = await whoever.communicate()
    assert said.decode().strip() == "it waits"


async def test_a_link_to_a_store_is_that_store(store: SqliteStore) -> None:
    await store.load()
    link = store.path.with_name("link.db")
    link.symlink_to(store.path)
    supervisor = await asyncio.create_subprocess_exec("sleep", "60")  # it runs, and is not ours
    holder_becomes(store.path, 4711, supervisor.pid)
    other = SqliteStore(link)
    with pytest.raises(StoreError, match=r"u\.db: another Understudy uses this store \(process 4711 on "):
        await asyncio.wait_for(other.load(), 5)
    await other.close()
    supervisor.kill()
    await supervisor.wait()
    await store.close()
    through = SqliteStore(link)
    assert (await through.load()).lost == ""
    store.path.unlink()
    await through.snapshot([], 1.0)  # a change that is written where the link leads, into a new file
    await through.close()
    assert link.is_symlink()
    assert store.path.exists()


def holder_becomes(path: Path, pid: int, parent: int) -> int:
    """Write another holder into the lock; who it was."""
    lock = Path(f"{path}.lock")
    note = orjson.loads(lock.read_bytes())
    lock.write_bytes(orjson.dumps({**note, "pid": pid, "parent": parent}))
    return int(note["pid"])
