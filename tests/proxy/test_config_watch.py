"""Promise: files are read again when they have changed and stand still, whichever way they are replaced; never else."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy.config_watch import Changes, WatchedFiles

SIGNATURES = st.sampled_from([(), (("a", (1,)),), (("a", (2,)),), (("a", (1,)), ("b", (1,)))])


@given(read=SIGNATURES, looks=st.lists(SIGNATURES, max_size=12))
def test_what_changed_and_stands_still_is_read_and_nothing_else(read: object, looks: list[object]) -> None:
    changes = Changes(read)  # type: ignore[arg-type]
    seen: list[object] = [()]
    for now in looks:
        assert changes.look(now) is (now == seen[-1] and now != read)  # type: ignore[arg-type]
        seen.append(now)


def test_a_signature_changes_with_whatever_changes(tmp_path: Path) -> None:
    """An included file that comes, changes in place, is replaced by renaming or goes; a key; the main file."""
    (tmp_path / "main.yaml").write_text("a")
    (tmp_path / "teams").mkdir()
    files = WatchedFiles(tmp_path / "main.yaml", ("teams/*.yaml",), ("key",), tmp_path)
    seen = [files.signature()]

    def changed() -> None:
        seen.append(files.signature())
        assert seen[-1] not in seen[:-1]
        assert files.signature() == seen[-1]

    one = tmp_path / "teams" / "one.yaml"
    one.write_text("owner: a")
    changed()
    one.write_text("owner: ab")
    changed()
    os.utime(one, ns=(1, 1))  # another text of the same length
    changed()
    (tmp_path / "new").write_text("owner: ab")
    os.utime(tmp_path / "new", ns=(1, 1))
    os.rename(tmp_path / "new", one)
    changed()
    (tmp_path / "key").write_text("x")
    changed()
    (tmp_path / "main.yaml").write_text("ab")
    changed()
    one.unlink()
    changed()
    (tmp_path / "teams" / ".hidden.yaml").write_text("x")
    assert files.signature() == seen[-1]
