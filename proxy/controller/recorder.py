"""`record:`: a sampled, bounded, rotating file of pairs, written by a thread of its own.

The event loop only puts a pair into a queue that is bounded in bytes; encoding, redaction, compression and the disk are
the thread's. A disk that is slow, full or gone costs pairs of the file (counted), never pairs of the evidence.

Invariants
- At most `files` files of about `max_size` bytes: `NAME`, then `NAME.1` (the youngest of the old) and so on.
- What was written is readable after a kill, but for the last second: streams are flushed to a boundary once a second,
  and a file that is continued gets a new gzip member or zstd frame. `recordings` reads on where one was not ended.
"""

from __future__ import annotations

import gzip
import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

from proxy import logs, private
from proxy.config import Record
from proxy.controller.admin.rollout_view import RecordJson
from proxy.model import Pair
from proxy.pairs.recording import Recorded, header_line, is_chosen, line_of

log = logging.getLogger("understudy.recorder")

MAX_WAITING = 32 * 1024 * 1024
"""Bytes of pairs that may wait for the thread; one more is dropped and counted."""
FLUSH = 1.0
"""Seconds between two times at which what was written is made readable."""
UNIT = 1024 * 1024
"""Compressed bytes that may wait for that."""
RETRY = 10.0
"""Seconds before a file that could not be written is tried again."""


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """What to record. `share` is 0..1, `max_size` bytes of one file on the disk, `dropped` header names in
    lower case."""

    path: Path
    share: float
    max_size: int
    files: int
    redact: tuple[str, ...]
    dropped: frozenset[str]

    @classmethod
    def of(cls, record: Record, dropped: frozenset[str]) -> RecordingRule:
        """The rule of a configured rollout; credentials are left out whether or not a copy may carry them."""
        return cls(Path(record.path), record.share, record.max_size, record.files, record.redact, frozenset(dropped))


class Recorder:
    """Writes the chosen pairs of one rollout. `offer` is cheap and never raises."""

    def __init__(self, rule: RecordingRule, rollout: str, config_hash: str) -> None:
        self.rule = rule
        self.written = self.dropped = 0
        self.error = ""
        self._header = header_line(rollout, config_hash)
        self._queue: queue.SimpleQueue[Recorded | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"record {rollout}", daemon=True)
        self._thread.start()

    def offer(self, pair: Pair, request_hash: int) -> None:
        """Record a pair if it belongs to the share and there is room."""
        if not is_chosen(pair.id, self.rule.share):
            return
        if pair.request_rest:  # it came from a worker that had not heard of the recording
            self._drop()
            return
        size = _size(pair)
        if self._waiting + size > MAX_WAITING:
            self._drop()
            return
        with self._lock:
            self._waiting += size
        self._queue.put(Recorded(pair, request_hash))

    def state(self) -> RecordJson:
        """For the API: the file, pairs written and dropped, and what stands in the way, if anything does."""
        return {
            "path": str(self.rule.path),
            "written": self.written,
            "dropped": self.dropped,
            "error": self.error or None,
        }

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and close the file; a disk that hangs is left behind after `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        file: _File | None = None
        flush_at = retry_at = 0.0
        while True:
            try:
                recorded = self._queue.get(timeout=FLUSH)
            except queue.Empty:
                recorded = None if file is None else _NOTHING
                if recorded is None:
                    continue
            if recorded is None:
                break
            now = time.monotonic()
            try:
                if recorded is not _NOTHING:
                    self._settle(recorded)
                    if now < retry_at:
                        self._drop()
                        continue
                    file = file or _File(self.rule, self._header)
                    file = self._write(file, recorded)
                if file is not None and now >= flush_at:
                    file.flush()
                    flush_at = now + FLUSH
            except Exception as error:  # mostly the disk; whatever it is, one odd pair must not end the recording
                self._failed(error)
                if file is not None:
                    file.abandon()
                file, retry_at = None, now + RETRY
        if file is not None:
            file.close()

    def _settle(self, recorded: Recorded) -> None:
        with self._lock:
            self._waiting -= _size(recorded.pair)

    def _write(self, file: _File, recorded: Recorded) -> _File:
        file.write(line_of(recorded, self.rule.redact, self.rule.dropped))
        self.written += 1
        self.error = ""
        if file.size < self.rule.max_size:
            return file
        file.close()
        rotate(self.rule.path, self.rule.files)
        return _File(self.rule, self._header)

    def _failed(self, error: Exception) -> None:
        self._drop()
        self.error = str(error)
        logs.event(log, "record.failed", logging.ERROR, path=str(self.rule.path), error=self.error)


_NOTHING = cast(Recorded, object())  # the queue was empty for a while: time to flush


def _size(pair: Pair) -> int:
    return 500 + len(pair.request_body) + len(pair.live.body) + len(pair.candidate.body)


class _File:
    """One file being written, compressed as its name says. Raises `OSError`, or `ImportError` without zstd's extra.

    What reaches the disk ends at a boundary at which a reader can stop, and is written in one go: whoever is killed
    leaves no half of it, and who goes on after that is found by its own beginning.
    """

    def __init__(self, rule: RecordingRule, header: bytes) -> None:
        self._waiting = BytesIO()
        self._stream = compressor(rule.path, self._waiting)
        self._raw = open(rule.path, "ab", buffering=0, opener=private.opener)  # noqa: SIM115
        if self._stream is self._waiting and _is_torn(rule.path):
            self.write(b"\n")
        self.write(header)
        self.flush()

    @property
    def size(self) -> int:
        """Bytes on the disk or on their way there."""
        return self._raw.tell() + self._waiting.tell()

    def write(self, line: bytes) -> None:
        self._stream.write(line)
        if self._waiting.tell() > UNIT:
            self.flush()

    def flush(self) -> None:
        self._stream.flush()
        self._put()

    def close(self) -> None:
        if self._stream is not self._waiting:
            self._stream.close()
        try:
            self._put()
        finally:
            self._raw.close()

    def abandon(self) -> None:
        """Leave the file as it is: an end would belong to a stream whose last part is not there."""
        with suppress(OSError):
            self._raw.close()

    def _put(self) -> None:
        start, data = self._raw.tell(), memoryview(self._waiting.getvalue())
        self._waiting.seek(0)
        self._waiting.truncate()
        try:
            while data:
                data = data[self._raw.write(data) :]
        except OSError:  # a full disk may have taken a part
            self._raw.truncate(start)
            raise


def _is_torn(path: Path) -> bool:
    """Whether a file without compression ends in the middle of a line."""
    with path.open("rb") as file:
        return file.seek(0, 2) > 0 and file.seek(-1, 2) >= 0 and file.read(1) != b"\n"


def compressor(path: Path, raw: BytesIO) -> IO[bytes]:
    """A stream that compresses into `raw` as the name's ending says (`.gz`, `.zst`, else not at all)."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(filename="", mode="ab", compresslevel=5, fileobj=raw))
    if path.suffix == ".zst":
        return cast(IO[bytes], _Zstd(raw))
    return raw


class _Zstd:
    """A zstd stream whose `flush` ends a block, so that what was written can be read."""

    def __init__(self, raw: BytesIO) -> None:
        import zstandard  # an extra: only who records in this format needs it

        self._writer: Any = zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False)
        self._block = zstandard.FLUSH_BLOCK

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def flush(self) -> None:
        self._writer.flush(self._block)

    def close(self) -> None:
        self._writer.close()


def rotate(path: Path, files: int) -> None:
    """`NAME` becomes `NAME.1`, that one `NAME.2` and so on; what is beyond `files` goes."""
    if files <= 1:
        path.unlink(missing_ok=True)
        return
    for number in range(files - 1, 0, -1):
        source = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if source.exists():
            source.replace(path.with_name(f"{path.name}.{number}"))
