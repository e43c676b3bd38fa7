"""Recorded files and journals, opened for reading: what `judge` and `replay` have in hand."""

from __future__ import annotations

import gzip
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import orjson

from proxy.core.recording import Recorded, RecordError, read_lines
from proxy.errors import UnderstudyError

_SQLITE = b"SQLite format 3\0"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


CHUNK = 64 * 1024


class RecordingError(UnderstudyError):
    """A file that cannot be judged: it is not there, or not what it should be."""


def is_store(path: Path) -> bool:
    """Whether a file is a controller's store, not a recorded file. Raises `RecordingError` when it cannot be opened."""
    return _start(path).startswith(_SQLITE)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error


def recorded_pairs(path: Path) -> Iterator[Recorded]:
    """The pairs of a recorded file, however it is compressed (its content says, not its name).

    A file that a killed process left without its end gives what can be read of it. Raises `RecordingError`.
    """
    start = _start(path)
    try:
        with path.open("rb") as raw:
            yield from read_lines(_lines(raw, start))
    except RecordError as error:
        raise RecordingError(f"{path}: {error}") from error
    except (OSError, zlib.error) as error:
        raise RecordingError(f"cannot read {path}: {error}") from error


def _lines(raw: IO[bytes], start: bytes) -> Iterator[bytes]:
    if start.startswith(_GZIP):
        return _until_torn(gzip.GzipFile(fileobj=raw))
    if start.startswith(_ZSTD):
        return _zstd_lines(raw)
    return iter(raw)


def _zstd_lines(raw: IO[bytes]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise RecordingError("a .zst file needs the extra: pip install 'understudy[zstd]'") from None
    # Not stream_reader: at the end of a frame that was never closed it leaves out what it has already taken in.
    decoder = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
    rest = b""
    try:
        while chunk := raw.read(CHUNK):
            *lines, rest = (rest + decoder.decompress(chunk)).split(b"\n")
            yield from lines
    except zstandard.ZstdError as error:
        raise RecordingError(f"a damaged .zst file: {error}") from error
    if rest:
        yield rest


def _until_torn(file: gzip.GzipFile) -> Iterator[bytes]:
    try:
        yield from file
    except EOFError:  # the last member has no end: its writer was killed
        return


def journal_entries(path: Path, rollout: str = "") -> Iterator[tuple[dict[str, Any], bytes]]:
    """Entries of a store's journal with their evidence, oldest first; of one rollout if it is named.

    Opens it read-only, beside a running controller if need be. Raises `RecordingError`.
    """
    sql = (
        "SELECT number, rollout, time, kind, actor, reason, detail, evidence FROM journal"
        " WHERE ? IN ('', rollout) ORDER BY number"
    )
    keys = ("number", "rollout", "time", "kind", "actor", "reason")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            for row in connection.execute(sql, (rollout,)):
                yield {**dict(zip(keys, row[:6], strict=True)), "detail": orjson.loads(row[6])}, bytes(row[7])
    except sqlite3.Error as error:
        raise RecordingError(f"{path}: {error}") from error


def recorded_rollout(path: Path) -> str:
    """The rollout that a recorded file is about. Raises `RecordingError`."""
    start = _start(path)
    with path.open("rb") as raw:
        try:
            return str(orjson.loads(next(_lines(raw, start)))["rollout"])
        except (StopIteration, orjson.JSONDecodeError, KeyError, TypeError, OSError, zlib.error):
            raise RecordingError(f"{path} is not a recorded file: it does not begin with `understudy_record`") from None
