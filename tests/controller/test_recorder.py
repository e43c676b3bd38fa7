"""Keeps the promises of `record:`: the file is bounded and rotates, is readable in each compression even after a kill,
goes on where it was, and a disk that fails costs pairs of the file and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.controller import recorder as module
from proxy.controller.recorder import Recorder, RecordingRule, rotate
from proxy.controller.recordings import RecordingError, recorded_pairs, recorded_rollout
from proxy.model import Arm, Outcome, Pair
from proxy.pairs.recording import Recorded, header_line
from tests.controller.controllers import eventually

HEAD = b"POST / HTTP/1.1\r\nauthorization: secret\r\n\r\n"


def pair(number: int, size: int = 0) -> Pair:
    body = bytes([number % 251]) * size
    return Pair("t", 0, "w", number, f"id-{number}", 0.0, Arm.LIVE, HEAD, body, Outcome(200), Outcome(200))


def rule(path: Path, **more: object) -> RecordingRule:
    return replace(RecordingRule(path, 1.0, 1 << 20, 3, (), frozenset({"authorization"})), **more)  # type: ignore[arg-type]


def ids(path: Path) -> list[str]:
    return [recorded.pair.id for recorded in recorded_pairs(path)]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.jsonl.zst"])
def test_what_was_offered_is_in_the_file_and_a_restart_goes_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / name
    for start in (0, 5):
        recorder = Recorder(rule(path), "r/c", "hash")
        for number in range(start, start + 5):
            recorder.offer(pair(number, 100), number)
        recorder.close()
        assert (recorder.written, recorder.dropped) == (5, 0)
    assert ids(path) == [f"id-{n}" for n in range(10)]
    assert recorded_rollout(path) == "r/c"
    assert [recorded.request_hash for recorded in recorded_pairs(path)] == list(range(10))


def test_a_caller_that_repeats_its_id_is_recorded_in_its_share(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    recorder = Recorder(rule(path, share=0.5), "r/c", "hash")
    for number in range(100):
        recorder.offer(pair(number)._replace(request_id="session-1"), number)
    recorder.close()
    assert 20 < recorder.written < 80
    assert len(set(ids(path))) == recorder.written
    assert {recorded.pair.request_id for recorded in recorded_pairs(path)} == {"session-1"}


def test_a_request_that_came_without_its_end_is_no_record(tmp_path: Path) -> None:
    """A reload began to record; the worker had sent the pair before."""
    recorder = Recorder(rule(tmp_path / "pairs.jsonl"), "r/c", "hash")
    recorder.offer(pair(0, 100)._replace(request_rest=bytes(12)), 0)
    recorder.offer(pair(1, 100), 1)
    recorder.close()
    assert (ids(tmp_path / "pairs.jsonl"), recorder.dropped) == (["id-1"], 1)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.jsonl.zst"])
async def test_a_file_whose_writer_was_killed_is_readable(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.02)
    recorder = Recorder(rule(tmp_path / name), "r/c", "hash")
    for number in range(50):
        recorder.offer(pair(number, 1000), number)
    torn = tmp_path / "torn"

    def whole() -> bool:
        if not (tmp_path / name).exists():
            return False
        torn.write_bytes((tmp_path / name).read_bytes())
        try:
            return len(ids(torn)) == 50
        except RecordingError:
            return False  # not even the header has reached the disk yet

    await eventually(whole)
    recorder.close()


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.jsonl.zst"])
@pytest.mark.parametrize("lost", [0, 1, 20])
def test_a_file_that_goes_on_after_its_writers_were_killed_is_readable(tmp_path: Path, name: str, lost: int) -> None:
    """However many were, and even where a power cut took the last bytes that one had written."""
    path, expected = tmp_path / name, []
    for life in range(4):
        file = module._File(rule(path), header_line("r/c", "hash"))
        for number in range(life * 100, life * 100 + 100):
            file.write(module.line_of(Recorded(pair(number, 300), number)))
            if number % 10 == 9:
                file.flush()
        file._raw.close()  # no end of its member or frame
        with path.open("r+b") as cut:
            cut.truncate(path.stat().st_size - lost)
        expected += [f"id-{n}" for n in range(life * 100, life * 100 + 100)]
    found = ids(path)
    assert found == [name for name in expected if name in found], "in order, and nothing that was not written"
    assert len(found) >= (400 if lost == 0 else 4 * 90)
    assert recorded_rollout(path) == "r/c"


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz", "pairs.jsonl.zst"])
def test_a_disk_that_takes_a_part_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    file = module._File(rule(path), header_line("r/c", "hash"))
    size, disk = path.stat().st_size, file._raw

    class Full:
        """A disk with room for ten bytes more."""

        tell, truncate, room = disk.tell, disk.truncate, 10

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            taken, self.room = disk.write(data[: self.room]), 0
            return taken

    monkeypatch.setattr(file, "_raw", Full())
    file.write(module.line_of(Recorded(pair(1, 1000), 1)))
    with pytest.raises(OSError, match="No space"):
        file.flush()
    assert path.stat().st_size == size
    monkeypatch.setattr(file, "_raw", disk)
    file.abandon()
    again = module._File(rule(path), header_line("r/c", "hash"))
    again.write(module.line_of(Recorded(pair(2, 1000), 2)))
    again.close()
    assert ids(path) == ["id-2"]


def test_files_rotate_and_stay_bounded(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    recorder = Recorder(rule(path, max_size=10_000), "r/c", "hash")
    for number in range(100):
        recorder.offer(pair(number, 1000), number)
    recorder.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["pairs.jsonl", "pairs.jsonl.1", "pairs.jsonl.2"]
    assert all(file.stat().st_size < 13_000 for file in files)
    kept = [name for file in reversed(files) for name in ids(file)]
    assert kept == [f"id-{n}" for n in range(100)][-len(kept) :]


def test_one_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    rotate(path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_drops_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(rule(tmp_path / "file" / "pairs.jsonl"), "r/c", "hash")
    for number in range(3):
        recorder.offer(pair(number), number)
    recorder.close()
    state = recorder.state()
    assert (state["written"], state["dropped"]) == (0, 3)
    assert "Not a directory" in state["error"] or "exists" in state["error"]


def test_a_pair_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module.line_of

    def odd(recorded: Recorded, *more: object) -> bytes:
        if recorded.pair.id == "id-0":
            raise TypeError("Recursion limit reached")
        return write(recorded, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "line_of", odd)
    monkeypatch.setattr(module, "RETRY", 0.0)
    recorder = Recorder(rule(tmp_path / "pairs.jsonl"), "r/c", "hash")
    for number in range(3):
        recorder.offer(pair(number), number)
    recorder.close()
    assert (recorder.written, recorder.dropped) == (2, 1)


def test_pairs_beyond_the_bound_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10_000)
    recorder = Recorder(rule(tmp_path / "pairs.jsonl"), "r/c", "hash")
    recorder.offer(pair(0, 20_000), 0)
    recorder.offer(pair(1, 100), 1)
    recorder.close()
    assert ids(tmp_path / "pairs.jsonl") == ["id-1"]
    assert recorder.dropped == 1


def test_what_is_no_recording_is_refused_in_words(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"\x1f\x8bnot gzip", b"\x28\xb5\x2f\xfdnot zstd"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(RecordingError):
            ids(tmp_path / "x")
    with pytest.raises(RecordingError, match="No such file"):
        ids(tmp_path / "nothing")
