"""Outcomes one a line (NDJSON): taken while they come, in parts, whatever the length of the body.

Invariants
- A line that is wrong keeps no other from being taken: it is told by its number, the first `MOST_TOLD` of them.
- What is kept at a time is one part of `PART` outcomes and one line.
- Each part is given on whole, and in order: who is cut off knows up to which line everything was taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import orjson
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from proxy.controller.admin.coded import decoded_body
from proxy.controller.admin.inputs import outcome_problem, with_digits
from proxy.controller.admin.outcome_view import PostedJson, RefusedLineJson
from proxy.controller.admin.problems import Problem
from proxy.errors import StoreError

NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
"""Media types of one JSON value a line."""
PART = 2_000
"""Outcomes that are given on together."""
MOST_LINE = 16 * 1024
"""Bytes of a line: two of the longest keys, with every character escaped."""
MOST_TOLD = 100
"""Lines whose problem is told; the others are counted."""
IN_TURN = 200
"""Lines that are read before others have their turn of the loop."""

Take = Callable[[list[dict[str, Any]]], Awaitable[PostedJson]]


def is_lines(request: web.Request) -> bool:
    """Whether a request says that its body has one outcome a line."""
    return request.content_type in NDJSON


class OutcomeLines:
    """One body. `take` takes a part, and says how many became what."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._part: list[dict[str, Any]] = []
        self._became = Counter(joined=0, unknown=0)
        self._line = self._refused = self._taken = self._outcomes = 0
        self._problems: list[RefusedLineJson] = []

    async def read(self, request: web.Request) -> PostedJson:
        """Take all of it; what became of it, and the lines that were refused. Raises `Problem` where no line is right,
        or where it ends too early: `taken_lines` says then up to which line everything was taken."""
        try:
            async for line in _lines(request):
                await self._add(line)
            await self._give()
        except StoreError as error:
            raise self._cut_off(503, f"The store is not available: {error}.") from error
        except (PayloadEncodingError, web.RequestPayloadError) as error:
            raise self._cut_off(400, "The body is not encoded as its Content-Encoding says, or ends early.") from error
        if self._refused and not self._outcomes:
            first = self._problems[0]
            said = f"None of {self._refused:,} lines is an outcome. Line {first['line']}: {first['problem']}."
            raise Problem(400, said, problems=self._problems)
        read = {"lines": self._line, "refused": self._refused, "problems": self._problems}
        return cast(PostedJson, {**self._became, **read})

    def _cut_off(self, status: int, why: str) -> Problem:
        kept = f" Lines 1 to {self._taken:,} were taken." if self._taken else " None was taken before."
        return Problem(status, why + kept, taken_lines=self._taken)

    async def _add(self, line: bytes | None) -> None:
        self._line += 1
        entry, problem = _read(line)
        if problem:
            self._refused += 1
            if len(self._problems) < MOST_TOLD:
                self._problems.append({"line": self._line, "problem": problem})
        elif entry is not None:
            self._part.append(entry)
            if len(self._part) >= PART:
                await self._give()
        if not self._line % IN_TURN:
            await asyncio.sleep(0)

    async def _give(self) -> None:
        if self._part:
            self._became.update(cast(dict[str, int], await self._take(self._part)))
            self._outcomes += len(self._part)
        self._part, self._taken = [], self._line


def _read(line: bytes | None) -> tuple[dict[str, Any] | None, str]:
    """The outcome of a line, and what is wrong with it; neither of an empty one."""
    if line is None:
        return None, f"longer than {MOST_LINE:,} bytes"
    if not line.strip():
        return None, ""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return None, f"not JSON: {error.msg}, column {error.colno}"
    if problem := outcome_problem(entry := with_digits(entry, line)):
        return None, problem
    return entry, ""


async def _lines(request: web.Request) -> AsyncIterator[bytes | None]:
    """The lines of a body without their ends; `None` for one that is too long, of which nothing is kept."""
    rest, too_long, first = b"", False, True
    async for chunk in decoded_body(request):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield None if too_long or len(line) > MOST_LINE else line.removeprefix(_BOM) if first else line
            too_long = first = False
        if len(rest) > MOST_LINE:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest.removeprefix(_BOM) if first else rest


_BOM = b"\xef\xbb\xbf"
