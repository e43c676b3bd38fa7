"""Whether the files of a configuration have changed on the disk, for `server.watch`.

They are looked at, not subscribed to: Kubernetes replaces a mounted ConfigMap by turning a link (`..data`), an editor
by renaming, a network file system tells nobody; a look sees all of these, and new files that a pattern of `include`
fits.

Invariants
- Files are read again when they differ from what was last read and have not changed since the last look: what is half
  written waits. A change during the reading is seen by the next look.
- A file that was refused is not tried again until something changes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from proxy import logs
from proxy.file_patterns import matches

log = logging.getLogger("understudy.supervisor")

PAUSE = 1.0
"""Seconds between two looks at whether there is anything to be looked at."""

Signature = tuple[tuple[str, tuple[int, ...]], ...]
"""Each file by its name with what changes when it does; an empty one is not there."""


@dataclass(frozen=True, slots=True)
class WatchedFiles:
    """The main file, the patterns that it includes and the files of `${file:PATH}`, relative to `directory`."""

    main: Path
    patterns: tuple[str, ...]
    secrets: tuple[str, ...]
    directory: Path

    def signature(self) -> Signature:
        """How they look now."""
        included = (name for pattern in self.patterns for name in matches(pattern, self.directory))
        return _signature([self.main, *(self.directory / name for name in (*sorted(set(included)), *self.secrets))])


def _signature(files: Iterable[Path]) -> Signature:
    return tuple((str(file), _look(file)) for file in files)


def _look(file: Path) -> tuple[int, ...]:
    try:
        found = os.stat(file)  # through links
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(slots=True)
class Changes:
    """What was read last, and what the last look saw."""

    read: Signature
    seen: Signature = ()

    def look(self, now: Signature) -> bool:
        """Whether the files are to be read again, which look like this now.

        >>> changes = Changes(read=(("a", (1,)),))
        >>> [changes.look((("a", (n,)),)) for n in (1, 2, 3, 3)]
        [False, False, False, True]
        """
        settled, self.seen = now == self.seen, now
        return settled and now != self.read


async def watch(
    files: Callable[[], WatchedFiles],
    changes: Changes,
    every: Callable[[], float | None],
    reload: Callable[[], Awaitable[object]],
) -> None:
    """Look at the files, `every` so many seconds, and have them read again; for ever. `None`: not now."""
    import asyncio  # not for whoever reads the files, and has no loop

    while True:
        pause = every()
        await asyncio.sleep(PAUSE if pause is None else pause)
        try:
            if pause is not None and changes.look(await asyncio.to_thread(files().signature)):
                await reload()
        except Exception:  # the next look may see more
            logs.unexpected(log, "config.watch_broke")
