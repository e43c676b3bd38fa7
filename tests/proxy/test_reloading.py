"""Promise: after a refusal it is the refused files that are looked at: a repair is noticed wherever it is made; until
then nothing is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.reloading import ConfigInForce

MAIN = "upstreams: {m: {url: 'http://127.0.0.1:1'}}\ndefault: {live: m}\n"
TEAM = "owner: a\nupstreams: {a: {url: 'http://127.0.0.1:2'}}\n"


async def attempts(config: ConfigInForce) -> list[str]:
    """What comes of five looks."""
    found = []
    for _ in range(5):
        if config.changes.look(config.watched.signature()):
            found.append(await config.reload("watch", []))
    return found


BROKEN_TEAM = "include: teams/*.yaml\n", "teams/a.yaml", TEAM.replace("owner", "ownr")
NO_FILE = "include: teams/*.yaml\n", "teams/a.yaml", None
NO_SECRET = "admin: {token: '${file:tok}'}\n", "tok", None
TEAMS_SECRET = "include: teams/*.yaml\n", "tok", None
OWNERS_SECRET = "include: teams/*.yaml\n", "tok", None
MENDED = {"teams/a.yaml": TEAM, "tok": "0123456789-0123456789-0123456789"}


@pytest.mark.parametrize(
    ("added", "broken", "text", "team"),
    [
        (*BROKEN_TEAM, None),
        (*NO_FILE, None),
        (*NO_SECRET, None),
        (*TEAMS_SECRET, TEAM.replace("2'}", "2', headers: {set: {x-key: '${file:tok}'}}}")),
        (*OWNERS_SECRET, TEAM.replace("owner: a", "owner: '${file:tok}'")),
    ],
)
async def test_a_repair_is_noticed_in_what_the_refused_file_names(
    added: str, broken: str, text: str | None, team: str | None, tmp_path: Path
) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    (tmp_path / "teams").mkdir()
    config = ConfigInForce(main)
    assert await attempts(config) == []
    if text is not None:
        (tmp_path / broken).write_text(text)
    if team is not None:
        (tmp_path / "teams" / "a.yaml").write_text(team)
    main.write_text(added + MAIN)
    (error,) = await attempts(config)
    assert error
    assert await attempts(config) == []
    (tmp_path / broken).write_text(MENDED[broken])
    assert await attempts(config) == [""]
    assert config.generation == 2
    assert await attempts(config) == []


async def test_what_needs_a_restart_is_tried_once(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    (tmp_path / "a.yaml").write_text(TEAM)
    config = ConfigInForce(main)
    main.write_text("include: a.yaml\nstore: {path: other.db}\n" + MAIN)
    assert await attempts(config) == ["store needs a restart"]
    main.write_text(MAIN)
    assert await attempts(config) == [""]


async def test_a_main_file_that_is_gone_is_read_when_it_is_back(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(MAIN)
    config = ConfigInForce(main)
    main.unlink()
    (error,) = await attempts(config)
    assert "No such file" in error
    main.write_text(MAIN)
    assert await attempts(config) == [""]
