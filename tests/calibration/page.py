"""The table of docs/calibration.md as lines: read, written, and exchanged for those that were measured anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from proxy.model import Guard
from tests.calibration.cases import Case, Row

TABLE = """| truth | guard | target | alone | default | | measured on | runs | of all |
|---|---|---|---|---|---|---|---|---|
"""
_LINE = re.compile(
    r"^\| (.*?) \| `(.*?)` \| (.*?) \| (.*?) \| (.*?) \| (kept|\*\*missed\*\*) \| (.*?) \| .*? \| (.*?) \|$", re.M
)


@dataclass(frozen=True)
class Line:
    """One row, the day on which it was measured (with what was different then), and at which share of its runs."""

    row: Row
    day: str
    share: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.row.truth, self.row.guard


def runs_said(row: Row) -> str:
    """How many runs a row says it has; empty where it says nothing.

    >>> runs_said(Row("", "", "", "fail 0.25% of 2,000 runs", "fail 900 (50 runs)", True))
    '2,000'
    """
    found = re.search(r"([\d,]+) runs", f"{row.measured} {row.default}")
    return found[1] if found else ""


def written(lines: Sequence[Line]) -> str:
    """The table in Markdown."""
    return TABLE + "".join(map(_written, lines))


def _written(line: Line) -> str:
    row, verdict = line.row, "kept" if line.row.ok else "**missed**"
    said = f"| {row.truth} | `{row.guard}` | {row.target} | {row.measured} | {row.default} | {verdict} "
    return f"{said}| {line.day} | {runs_said(row)} | {line.share} |\n"


def read(page: str) -> list[Line]:
    """The lines of a page: `read(written(lines)) == lines`."""
    return [
        Line(Row(truth, guard, target, alone, default, verdict == "kept"), day, share)
        for truth, guard, target, alone, default, verdict, day, share in _LINE.findall(page)
    ]


def exchanged(lines: Sequence[Line], new: Sequence[Line]) -> list[Line]:
    """The lines with new ones in the place of those about the same; the others behind the last."""
    found = list(lines)
    places: dict[tuple[str, str], list[int]] = {}
    for at, line in enumerate(lines):
        places.setdefault(line.key, []).append(at)
    for line in new:
        if at := places.get(line.key):
            found[at.pop(0)] = line
        else:
            found.append(line)
    return found


def words(case: Case) -> str:
    """What is known of a case before it is run: the texts that its function holds, among them its guard and its truth
    (or the parts of which it makes them)."""
    return "\n".join(_texts(case, set()))


def _texts(what: Any, seen: set[int]) -> list[str]:
    if isinstance(what, str):
        return [what]
    if isinstance(what, Guard):
        return [what.name]
    if isinstance(what, tuple):
        return [text for part in what for text in _texts(part, seen)]
    if isinstance(named := getattr(what, "guard", None), str):
        return [named]
    if not isinstance(what, FunctionType) or id(what) in seen:
        return []
    seen.add(id(what))
    used = [what.__globals__.get(name) for name in what.__code__.co_names]
    kept = [cell.cell_contents for cell in what.__closure__ or ()]
    named = [one for one in (*what.__code__.co_consts, *used) if isinstance(one, str | tuple | Guard)]
    return [text for part in (*named, *kept) for text in _texts(part, seen)]
