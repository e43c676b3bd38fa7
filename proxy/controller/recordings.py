"""Recorded files and journals, opened for reading: what `judge` and `replay` have in hand."""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from proxy.config.postgres_url import StoreUrl
from proxy.controller.store.chain import ChainCheck, ChainHead
from proxy.controller.store.journals import StoredChain, StoredJournal, checked_chain
from proxy.controller.store.sqlite.journal import SqliteJournal
from proxy.errors import UnderstudyError
from proxy.pairs.recording import Recorded, RecordError, read_lines

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

    A file that a killed process left without its end, and where another one may have gone on, gives what can be read of
    it. Raises `RecordingError`.
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
        return _split(_decoded(raw, _GZIP + b"\x08\x00", _Gzip, zlib.error))
    if start.startswith(_ZSTD):
        try:
            import zstandard
        except ImportError:
            raise RecordingError("a .zst file needs the extra: pip install 'understudy[zstd]'") from None
        # Not stream_reader: at the end of a frame that was never closed it leaves out what it has already taken in.
        decoder = functools.partial(zstandard.ZstdDecompressor().decompressobj, read_across_frames=True)
        return _split(_decoded(raw, _ZSTD, decoder, zstandard.ZstdError))
    return iter(raw)


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class _Gzip:
    """Members of a gzip file, one after the other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes) -> bytes:
        found = b""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            found += self._member.decompress(data)
            data = self._member.unused_data
        return found


def _decoded(
    raw: IO[bytes], magic: bytes, new: Callable[[], _Decoder], damage: type[Exception]
) -> Iterator[bytes | None]:
    """What a compressed file holds; `None` wherever a writer began, for the one before may have been killed.

    So what looks like a beginning is tried as one first: read as the middle of what was torn it would be rubbish.
    """
    decoder: _Decoder | None = None
    for piece in _pieces(raw, magic):
        found: bytes | None = None
        if decoder is None or piece.startswith(magic):
            begun = new()
            found = _read(begun, piece, damage)
            if found is not None:
                decoder = begun
                yield None
        if found is None and decoder is not None:
            found = _read(decoder, piece, damage)
        if found is None:
            decoder = None  # the rest is rubbish until another one begins
        else:
            yield found
    if decoder is None:
        raise RecordingError("a damaged file: what is compressed in it cannot be read")


def _read(decoder: _Decoder, piece: bytes, damage: type[Exception]) -> bytes | None:
    try:
        return decoder.decompress(piece)
    except damage:
        return None


def _pieces(raw: IO[bytes], magic: bytes) -> Iterator[bytes]:
    """The bytes of a file, cut wherever `magic` stands: a stream may begin there."""
    held = b""
    while chunk := raw.read(CHUNK):
        held += chunk
        while (at := held.find(magic, 1)) > 0:
            yield held[:at]
            held = held[at:]
        whole = max(0, len(held) - len(magic) + 1)  # the rest may be the beginning of one
        if whole:
            yield held[:whole]
            held = held[whole:]
    yield held


def _split(pieces: Iterable[bytes | None]) -> Iterator[bytes]:
    """Lines; one that was torn is a line by itself."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n") if piece is not None else (rest, b"")
        yield from filter(None, lines)
    if rest:
        yield rest


def journal_entries(place: Path | StoreUrl, rollout: str = "") -> Iterator[tuple[dict[str, Any], bytes]]:
    """Entries of a store's journal with their evidence, oldest first; of one rollout if it is named.

    Only reads, beside running replicas if need be. Raises `StoreError`.
    """
    with asyncio.Runner() as runner:
        journal = runner.run(_journal(place))
        try:
            last = 0
            while page := runner.run(journal.page(last, rollout)):
                yield from page
                last = page[-1][0]["number"]
        finally:
            runner.run(journal.close())


def verified(place: Path | StoreUrl, noted: ChainHead | None = None) -> tuple[ChainCheck, StoredChain]:
    """The chain of a store's journal, checked, and what the store says of it. Only reads. Raises `StoreError`."""

    async def work() -> tuple[ChainCheck, StoredChain]:
        journal = await _journal(place)
        try:
            return await checked_chain(journal, noted), await journal.chain()
        finally:
            await journal.close()

    return asyncio.run(work())


async def _journal(place: Path | StoreUrl) -> StoredJournal:
    if isinstance(place, StoreUrl):
        from proxy.controller.store.postgres.journal import PostgresJournal  # the driver takes its time

        return await PostgresJournal.open(place)
    return await SqliteJournal.open(place)


def recorded_rollout(path: Path) -> str:
    """The rollout that a recorded file is about. Raises `RecordingError`."""
    start = _start(path)
    with path.open("rb") as raw:
        try:
            return str(orjson.loads(next(_lines(raw, start)))["rollout"])
        except (StopIteration, orjson.JSONDecodeError, KeyError, TypeError, OSError, zlib.error):
            raise RecordingError(f"{path} is not a recorded file: it does not begin with `understudy_record`") from None
