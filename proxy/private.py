"""Files that hold what users sent and were answered: for the user that Understudy runs as, and no other.

`opener` opens them all: the store, recordings, the access log. SQLite gives its log and index the mode of the database.

Invariant: what is opened here is 0600, and a folder that is made here is 0700, whatever the umask. Files that an
earlier version left open to others are closed to them, those that were rotated or set aside too; folders that were
there before stay as their owner has them.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

_FILE, _FOLDER = 0o600, 0o700
_BESIDE = re.compile(r"\.[0-9]+|(?:\.(?:corrupt|replaced)-[0-9]+-[0-9]+)?(?:-wal|-shm)?|\.new-[0-9]+")
"""What may stand behind a file's name: older ones that were rotated, databases set aside, what SQLite adds."""


def opener(path: str, flags: int) -> int:
    """For `open(path, …, opener=opener)`: the folders are made where they are missing. Raises `OSError`."""
    make_folder(Path(path).parent)
    descriptor = os.open(path, flags | os.O_CLOEXEC, _FILE)
    _close_to_others(Path(path))
    return descriptor


def prepare(path: Path) -> None:
    """Make a file, for a library that opens files itself. Where that is impossible the library will say why.

    One that is there is not opened: closing it again would end the locks that SQLite has on it (POSIX, fcntl(2)).
    """
    with suppress(OSError):
        if path.exists():
            _close_to_others(path)
        else:
            os.close(opener(str(path), os.O_RDWR | os.O_CREAT))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing. Raises `OSError`."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=_FOLDER, exist_ok=True)


def _close_to_others(file: Path) -> None:
    """The file and what belongs to it; nothing that is no file (a pipe, a terminal), nor what is not ours."""
    try:
        names = os.listdir(file.parent)
    except OSError:
        names = [file.name]
    for name in names:
        if name.startswith(file.name) and _BESIDE.fullmatch(name[len(file.name) :]):
            with suppress(OSError):
                one = file.with_name(name)
                mode = os.stat(one, follow_symlinks=name == file.name).st_mode
                if stat.S_ISREG(mode) and stat.S_IMODE(mode) & ~_FILE:
                    one.chmod(_FILE)
