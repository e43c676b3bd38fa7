"""The outcomes of a file, one a line or row: NDJSON or CSV, compressed or not; of what is none, what is wrong with it.

A wrong row costs no other: a quote that is not closed is that line's alone, and the next line is a row again.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import chain, count, islice
from typing import Any, cast

from proxy.cli.table import printable
from proxy.errors import UnderstudyError

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a file raises in its middle: a disk that fails, a gzip stream that was cut off or damaged."""
MOST_ROW = 16 * 1024
"""Characters of a row's lines: a longer one is refused by the API as well."""
_GZIP = b"\x1f\x8b"
_COLUMNS = ("key", "id", "name", "value", "label", "reward")
_SPACE = " \t\r\n"
_OPEN = "a quote is not closed: a cell that begins with a quote ends with one, and those within it are written twice"

Numbered = tuple[int, bytes | str]
"""The number of a line, or of the first line of a row, and its outcome as JSON (bytes) or what is wrong (text)."""


def outcome_lines(raw: io.BufferedReader[io.RawIOBase], name: str | None) -> Iterator[Numbered]:
    """All outcomes of a file, in order; `name` for those without one. Raises `UnderstudyError` where it is no such
    file, and `READ_ERRORS`."""
    packed = raw.peek(2).startswith(_GZIP)
    file = cast(io.BufferedReader, gzip.GzipFile(fileobj=raw)) if packed else raw
    with io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="") as text:  # "": lines that end in CR alone too
        yield from _outcomes(enumerate(text, 1), name)


def _outcomes(lines: Iterator[tuple[int, str]], name: str | None) -> Iterator[Numbered]:
    first, at = "", 0
    for number, line in lines:
        at, first = number, line.removeprefix("\ufeff").strip(_SPACE)
        if first:
            break
    if first.startswith("["):
        raise UnderstudyError("a JSON list, where one outcome a line is expected: jq -c '.[]' makes that of it")
    if first.startswith("{"):
        yield from _objects(chain([(at, first)], lines), name)
    elif first:
        yield from _rows(first, lines, at, name)


def _objects(lines: Iterator[tuple[int, str]], name: str | None) -> Iterator[Numbered]:
    for number, line in lines:
        if text := line.strip(_SPACE).encode("utf-8", "surrogateescape"):
            yield number, _named(text, name) if name else text


def _named(line: bytes, name: str) -> bytes:
    """A line with the name that it lacks; as it is where it is no object, which the API says then."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return json.dumps({"name": name, **value}).encode() if isinstance(value, dict) else line


def _rows(head: str, lines: Iterator[tuple[int, str]], at: int, name: str | None) -> Iterator[Numbered]:
    """The rows of a CSV file, cut at commas, semicolons or tabs, whichever its first line has most of."""
    cut = max(",;\t", key=head.count)
    columns = _columns(head, cut, at)
    for number, cells in _cut(lines, cut):
        if isinstance(cells, str):
            yield number, cells
        elif len(cells) > len(columns) and any(cells[len(columns) :]):
            yield number, f"{len(cells)} cells, where line {at:,} names {len(columns)} columns"
        elif not _is_utf8(cells):
            yield number, "not UTF-8"
        elif any(cells):
            pairs = zip(columns, cells, strict=False)
            entry = ({"name": name} if name else {}) | {key: _cell(key, cell) for key, cell in pairs if cell != ""}
            yield number, json.dumps(entry).encode()


def _columns(head: str, cut: str, at: int) -> list[str]:
    try:
        (cells,) = csv.reader([head], delimiter=cut)
    except csv.Error as error:
        raise UnderstudyError(f"line {at:,} is neither JSON nor the names of columns: {error}") from None
    columns = [column.strip().lower() for column in cells]
    if unknown := [column for column in columns if column not in _COLUMNS]:
        known = ", ".join(_COLUMNS)
        raise UnderstudyError(f"line {at:,} names a column `{printable(unknown[0])[:40]}`; known: {known}")
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise UnderstudyError(f"line {at:,} names the column `{twice[0]}` twice")
    return columns


def _cut(lines: Iterator[tuple[int, str]], cut: str) -> Iterator[tuple[int, list[str] | str]]:
    """The cells of each row, or what is wrong with its first line: the next line begins another row then.

    >>> list(_cut(enumerate(['a,"b\\n', 'c"\\n', 'd,"e\\n', 'f,g']), ","))[::2]
    [(0, ['a', 'b\\nc']), (3, ['f', 'g'])]
    """
    ahead: deque[tuple[int, str]] = deque()
    while ahead or (ahead := deque(islice(lines, 1))):
        reader = csv.reader(_texts(ahead, lines), delimiter=cut, strict=True)
        found: list[str] | str
        try:
            found, used = next(reader), reader.line_num
        except csv.Error as error:
            found, used = _OPEN if "unexpected end" in str(error) else f"not CSV: {error}", 1
        yield ahead[0][0], found
        for _ in range(used):
            ahead.popleft()


def _texts(ahead: deque[tuple[int, str]], lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Lines for one row, until they are too long for it; those that were taken stay `ahead`."""
    size = 0
    for at in count():
        if at == len(ahead):
            ahead.extend(islice(lines, 1))
        if at == len(ahead) or size > MOST_ROW:
            return
        size += len(ahead[at][1])
        yield ahead[at][1]


def _is_utf8(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _cell(column: str, text: str) -> Any:
    """A cell as the API takes it; a label is text, which the API compares as what the model predicts.

    >>> _cell("value", "12.50"), _cell("value", "much"), _cell("key", "7"), _cell("label", "007")
    (12.5, 'much', '7', '007')
    """
    if column in ("value", "reward"):
        try:
            return float(text)
        except ValueError:
            return text
    return text
