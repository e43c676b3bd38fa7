"""`understudy outcomes`: labels and outcomes out of a file, given to a running proxy in parts, each bad line told."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

import click

from proxy.cli.admin import AdminClient, AdminError
from proxy.cli.options import FAILED, UnreadableFile, admin_options, guarded
from proxy.cli.table import printable
from proxy.errors import UnderstudyError

AT_ONCE = 2_000
"""Lines of one request."""
TIMEOUT = 60.0
_GZIP = b"\x1f\x8b"
_COLUMNS = ("key", "id", "name", "value", "label", "reward")
_WORDS = {
    "joined": "",
    "early": "the user is not known yet: counts if its first request is told within a minute",
    "late": "the time of the user is over (`within`), or the stage it was in",
    "left_out": "of a user that is left out for memory",
    "unfit": "not from 0 to 1, where the drop is in points",
    "unknown": "no such user or request, or its truth is known already",
    "ended": "the rollout that asked for it has ended",
    "unasked": "no rollout asks for an outcome of this name",
}
"""What can become of a line."""


@click.command("outcomes")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--name", metavar="OUTCOME", help="The name of the outcome, where the lines have none.")
@click.option("--from", "start", default=1, show_default=True, type=click.IntRange(min=1), metavar="LINE",
              help="Begin with this line of the file, to go on after an error.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what became of the lines as JSON.")
@admin_options
@guarded
def outcomes(file: Path, name: str | None, start: int, as_json: bool, url: str, token: str | None) -> int:
    """Post outcomes of users and labels of requests from FILE; `-` is standard input.

    NDJSON, an object a line as the API takes it; or CSV whose first line names its columns: `key` or `id`, `name` and
    `value` of an outcome, `id` and `label`, `value` or `reward` of a label. A label in CSV that is a whole number, true
    or false is one; all else is text. Both may be compressed by gzip.

    Lines that are wrong are told and left out, and all others are taken. Exit code 1: some were wrong, or it ended too
    early; it says then with which line to go on.

    \b
    Examples:
      understudy outcomes conversions.ndjson
      understudy outcomes orders.csv.gz --name revenue
      understudy outcomes - --name revenue < orders.csv
    """
    told = Told()
    try:
        with io.BufferedReader(_opened(file)) as raw:
            _post(AdminClient(url, token, TIMEOUT), _numbered(raw, name), start, told)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UnreadableFile(file, error) from error
    if as_json:
        click.echo(json.dumps(told.as_json, indent=2))
    else:
        click.echo("\n".join(told.lines))
    return FAILED if told.refused else 0


def _opened(file: Path) -> io.RawIOBase:
    return cast(io.RawIOBase, sys.stdin.buffer) if str(file) == "-" else file.open("rb", buffering=0)


@dataclass(slots=True)
class Told:
    """What became of the lines that were sent."""

    sent: int = 0
    refused: int = 0
    became: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)

    def add(self, answer: dict[str, Any], numbers: list[int]) -> None:
        """The answer to a part, whose lines have these numbers in the file."""
        self.sent += len(numbers)
        self.became.update({word: n for word, n in answer.items() if word in _WORDS})
        self.refused += answer["refused"]
        self.problems += [{**one, "line": numbers[one["line"] - 1]} for one in answer["problems"]]

    @property
    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {"sent": self.sent, **self.became, "refused": self.refused, "problems": self.problems}

    @property
    def lines(self) -> list[str]:
        """All of it, for a person.

        >>> told = Told()
        >>> told.add({"joined": 2, "unasked": 1, "refused": 1, "problems": [{"line": 4, "problem": "not JSON"}]},
        ...          [1, 2, 3, 5])
        >>> print(*told.lines, sep=chr(10))
        4 lines: 2 joined, 1 unasked, 1 refused
          unasked: no rollout asks for an outcome of this name
          line 5: not JSON
        """
        counts = Counter({word: self.became[word] for word in _WORDS}) + Counter(refused=self.refused)
        said = ", ".join(f"{n:,} {word.replace('_', ' ')}" for word, n in counts.items()) or "nothing to post"
        why = [f"  {word.replace('_', ' ')}: {_WORDS[word]}" for word in counts if _WORDS.get(word)]
        wrong = [f"  line {one['line']:,}: {printable(one['problem'])}" for one in self.problems]
        more = self.refused - len(wrong)
        return [f"{self.sent:,} lines: {said}", *why, *wrong, *[f"  … and {more:,} more"] * (more > 0)]


def _post(admin: AdminClient, lines: Iterator[tuple[int, bytes]], start: int, told: Told) -> None:
    part: list[tuple[int, bytes]] = []
    for number, line in chain(lines, [(0, b"")]):  # the last one gives the rest
        if number >= start:
            part.append((number, line))
        if part and (len(part) >= AT_ONCE or not number):
            try:
                told.add(admin.post_outcomes([line for _, line in part]), [at for at, _ in part])
            except AdminError as error:
                raise UnderstudyError(_cut_off(error, part[0][0], part[-1][0], told.sent)) from error
            part = []


def _cut_off(error: AdminError, first: int, last: int, sent: int) -> str:
    if not sent and not error.done:
        return str(error)
    words = [f"{sent:,} lines before line {first:,} were sent"] if sent else []
    words += [f"of lines {first:,} to {last:,} it is not known"] if error.done else []
    return f"{error}\n{', '.join(words)}; --from {first} goes on there"


def _numbered(raw: io.BufferedReader[io.RawIOBase], name: str | None) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty as NDJSON, each with its number in the file."""
    packed = raw.peek(2).startswith(_GZIP)
    file: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
    first, at = b"", 0
    for first in file:
        at += 1
        if first := first.removeprefix(b"\xef\xbb\xbf").strip():
            break
    if first.startswith(b"["):
        raise UnderstudyError("a JSON list, where one outcome a line is expected: jq -c '.[]' makes that of it")
    if first.startswith(b"{"):
        yield from _objects(chain([first], file), at, name)
    elif first:
        yield from _rows(first.decode(), (line.decode() for line in file), at, name)


def _objects(lines: Iterator[bytes], at: int, name: str | None) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, at):
        if text := line.strip():
            yield number, _named(text, name) if name else text


def _named(line: bytes, name: str) -> bytes:
    """A line with the name that it lacks; as it is where it is no object."""
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return json.dumps({"name": name, **value}).encode() if isinstance(value, dict) else line


def _rows(head: str, rest: Iterator[str], at: int, name: str | None) -> Iterator[tuple[int, bytes]]:
    """The rows of a CSV file, cut at commas, semicolons or tabs, whichever its first line has most of."""
    cut = max(",;\t", key=head.count)
    (columns,) = csv.reader([head], delimiter=cut)
    columns = [column.strip().lower() for column in columns]
    if unknown := [column for column in columns if column not in _COLUMNS]:
        known = ", ".join(_COLUMNS)
        raise UnderstudyError(f"line {at:,} names a column `{printable(unknown[0])[:40]}`; known: {known}")
    rows = csv.reader(rest, delimiter=cut)
    for row in rows:
        if any(row):
            cells = zip(columns, row, strict=False)
            entry = ({"name": name} if name else {}) | {key: _cell(key, cell) for key, cell in cells if cell != ""}
            yield at + rows.line_num, json.dumps(entry).encode()


def _cell(column: str, text: str) -> Any:
    """A cell as the API takes it.

    >>> _cell("value", "12.50"), _cell("value", "much"), _cell("key", "7"), _cell("label", "7"), _cell("label", "true")
    (12.5, 'much', '7', 7, True)
    """
    if column in ("value", "reward"):
        try:
            return float(text)
        except ValueError:
            return text
    if column == "label" and (text in ("true", "false") or text.removeprefix("-").isdecimal()):
        return json.loads(text) if text in ("true", "false") else int(text)
    return text
