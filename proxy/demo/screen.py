"""What the demo shows: plain lines for a file or a pipe; on a terminal, a few status lines redrawn in place.

Colour only on a terminal that can, and never with `NO_COLOR` set (https://no-color.org). Words carry the meaning, so
nothing is lost without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
QUIET = 3.0
"""Without a terminal, the status is written at most once in so many seconds."""


class Screen:
    """Writes to `stream`; `environment` says whether a terminal knows colour."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        terminal = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        self._redraws = terminal
        self._colours = terminal and not environment.get("NO_COLOR")
        self._drawn = 0
        self._last_status = float("-inf")

    def paint(self, text: str, *colours: str) -> str:
        """`text` in `colours`, or as it is where colour is off."""
        if not self._colours or not colours:
            return text
        return f"\x1b[{';'.join(_COLOURS[colour] for colour in colours)}m{text}\x1b[0m"

    def say(self, text: str = "", *colours: str) -> None:
        """A line that stays, above the status."""
        self._wipe()
        self._write(self.paint(text, *colours) + "\n")

    def status(self, now: float, lines: Sequence[tuple[str, str]]) -> None:
        """Show `(text, colour)` lines in place of the previous ones; without a terminal, once in `QUIET` seconds."""
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            self._wipe()
            self._write(
                "".join(self.paint(text[:width], *([colour] if colour else [])) + "\n" for text, colour in lines)
            )
            self._drawn = len(lines)
        elif now - self._last_status >= QUIET:
            self._last_status = now
            self._write("".join(f"{text}\n" for text, _ in lines))

    def keep(self) -> None:
        """Leave the last status standing and go on below it."""
        self._drawn = 0

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """A table whose first row is the head; the first column is left-aligned, the others right-aligned."""
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for number, row in enumerate(rows):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            self.say("  " + "   ".join(cells), *(["bold"] if number == 0 else []))

    def _wipe(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
