"""`understudy outcomes`: labels and outcomes out of a file, given to a running proxy in parts, each bad line told."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click

from proxy.cli.admin import AdminClient, AdminError
from proxy.cli.options import FAILED, UnreadableFile, guarded
from proxy.cli.outcome_file import READ_ERRORS, Numbered, outcome_lines
from proxy.cli.reaching import admin_options
from proxy.cli.table import printable
from proxy.errors import UnderstudyError

AT_ONCE = 2_000
"""Lines of one request."""
TIMEOUT = 60.0
MOST_TOLD = 1_000
"""Wrong rows whose problem is told; the others are counted."""
_WORDS = {
    "joined": "",
    "early": "the user is not known yet: counts if its first request is told within a minute",
    "late": "the time of the user is over (`within`), or the stage it was in",
    "left_out": "of a user that is left out for memory",
    "unfit": "not from 0 to 1, where the drop is in points",
    "unknown": "no such user or request, or its truth is known already",
    "ended": "the rollout that asked for it has ended",
    "unasked": "no rollout asks for an outcome of this name, or none that this token may post to",
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
    `value` of an outcome, `id` and `label`, `value` or `reward` of a label. Labels in CSV are compared as what the
    model predicts: `007` is the text 007, or the number 7. Both may be compressed by gzip.

    Invalid lines are reported and left out; all others are posted. Exit code 1: some lines were invalid, or not all
    could be posted; then the output names the line from which to continue (`error` and `from` in JSON).

    \b
    Examples:
      understudy outcomes conversions.ndjson
      understudy outcomes orders.csv.gz --name revenue
      understudy outcomes - --name revenue < orders.csv
    """
    told = Told()
    try:
        with io.BufferedReader(_opened(file)) as raw:
            _post(AdminClient(url, token, TIMEOUT), outcome_lines(raw, name), start, told)
    except READ_ERRORS as error:
        raise UnreadableFile(file, error) from error
    except CutOffError as error:
        told.cut_off = error
    if as_json:
        click.echo(json.dumps(told.as_json, indent=2))
    elif told.sent or not told.cut_off:
        click.echo("\n".join(told.lines))
    if told.cut_off:
        raise told.cut_off
    return FAILED if told.refused else 0


class CutOffError(UnderstudyError):
    """It ended too early: `said`, and where to go on, `None` where nothing has been done."""

    def __init__(self, said: str, start: int | None, done: str) -> None:
        super().__init__(said if start is None else f"{said}\n{done}; --from {start} goes on there")
        self.said, self.start = said, start


def _opened(file: Path) -> io.RawIOBase:
    return cast(io.RawIOBase, sys.stdin.buffer) if str(file) == "-" else file.open("rb", buffering=0)


@dataclass(slots=True)
class Told:
    """What became of the lines that were sent."""

    sent: int = 0
    refused: int = 0
    became: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)
    cut_off: CutOffError | None = None

    def refuse(self, number: int, problem: str) -> None:
        """A line that is wrong, and was not posted."""
        self.sent += 1
        self.refused += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append({"line": number, "problem": problem})

    def add(self, answer: dict[str, Any], numbers: list[int]) -> None:
        """The answer to a part, whose lines have these numbers in the file."""
        self.sent += len(numbers)
        self.became.update({word: n for word, n in answer.items() if word in _WORDS})
        self.refused += answer["refused"]
        self.problems += [{**one, "line": numbers[one["line"] - 1]} for one in answer["problems"]]

    @property
    def as_json(self) -> dict[str, Any]:
        """All of it."""
        told = {"sent": self.sent, **self.became, "refused": self.refused, "problems": self._in_order}
        return told | ({"error": self.cut_off.said, "from": self.cut_off.start} if self.cut_off else {})

    @property
    def _in_order(self) -> list[dict[str, Any]]:
        return sorted(self.problems, key=lambda one: one["line"])

    @property
    def lines(self) -> list[str]:
        """All of it, for a person.

        >>> told = Told()
        >>> told.add({"joined": 2, "unasked": 1, "refused": 1, "problems": [{"line": 4, "problem": "not JSON"}]},
        ...          [1, 2, 3, 5])
        >>> print(*told.lines, sep=chr(10))
        4 lines: 2 joined, 1 unasked, 1 refused
          unasked: no rollout asks for an outcome of this name, or none that this token may post to
          line 5: not JSON
        """
        counts = Counter({word: self.became[word] for word in _WORDS}) + Counter(refused=self.refused)
        said = ", ".join(f"{n:,} {word.replace('_', ' ')}" for word, n in counts.items()) or "nothing to post"
        why = [f"  {word.replace('_', ' ')}: {_WORDS[word]}" for word in counts if _WORDS.get(word)]
        wrong = [f"  line {one['line']:,}: {printable(one['problem'])}" for one in self._in_order]
        more = self.refused - len(wrong)
        return [f"{self.sent:,} lines: {said}", *why, *wrong, *[f"  … and {more:,} more"] * (more > 0)]


def _post(admin: AdminClient, lines: Iterator[Numbered], start: int, told: Told) -> None:
    """All of it, in parts; raises `CutOffError` where the file or the API ends it, and the error of a file of which
    nothing was read. What was read of a file is posted before."""
    part: list[tuple[int, bytes]] = []
    last = 0
    try:
        for last, line in lines:
            if last >= start and isinstance(line, str):
                told.refuse(last, line)
            elif last >= start and isinstance(line, bytes):
                part.append((last, line))
            if len(part) >= AT_ONCE:
                _give(admin, part, told)
    except READ_ERRORS as error:
        if not last:
            raise
        _give(admin, part, told)
        done = f"{told.sent:,} lines to line {last:,} were sent" if told.sent else f"it was read to line {last:,}"
        raise CutOffError(f"the file ends too early: {error}", max(last + 1, start), done) from error
    _give(admin, part, told)


def _give(admin: AdminClient, part: list[tuple[int, bytes]], told: Told) -> None:
    if part:
        try:
            told.add(admin.post_outcomes([line for _, line in part]), [at for at, _ in part])
        except AdminError as error:
            first, last = part[0][0], part[-1][0]
            words = [f"{told.sent:,} lines before line {first:,} were sent"] if told.sent else []
            words += [f"of lines {first:,} to {last:,} it is not known"] if error.done else []
            raise CutOffError(str(error), first if words else None, ", ".join(words)) from error
        part.clear()
