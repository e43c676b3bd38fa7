"""Which files a pattern of `include` fits: for what reads them, and for what looks whether they have changed."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

_MAGIC = re.compile(r"[*?[]")


def matches(pattern: str, directory: Path) -> list[str]:
    """Names of what a pattern fits, from `directory`, in order; hidden ones are left out, as by a shell.

    Links that lead nowhere are among them, and folders on the way that cannot be entered: what may hold a team's routes
    and cannot be read is to be told, not passed over.
    """
    found = glob.glob(pattern, root_dir=directory, recursive=True)
    files = (name for name in found if not os.path.isdir(directory / name))
    return sorted({*files, *_closed(pattern, directory)})


def _closed(pattern: str, directory: Path) -> Iterator[str]:
    """Paths on a pattern's way that cannot be entered, or listed where it asks for that."""
    steps = pattern.split("/")
    for n, step in enumerate(steps, 1):
        if n == len(steps) and step != "**":
            return
        needed = os.X_OK | (os.R_OK if step == "**" or _MAGIC.search(steps[n]) else 0)
        for name in glob.glob("/".join(steps[:n]), root_dir=directory, recursive=True):
            path = directory / name
            closed = os.path.isdir(path) and not os.access(path, needed)
            if closed or (os.path.islink(path) and not os.path.exists(path)):
                yield name
