"""Promise: `understudy outcomes` posts what a file or a pipe holds, CSV or NDJSON, in parts; each bad line is told by
its number in the file, all others are taken, and after an error it says where to go on."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.cli.outcomes import AT_ONCE
from proxy.errors import StoreError
from tests.controller.admin.clients import serving
from tests.controller.fake_service import FakeService

LINES = b'\n{"key": "a", "name": "conversion", "value": 1}\n{"key": "b"\n\n{"id": "r", "label": true}\n'


async def understudy(service: FakeService, *arguments: object, stdin: bytes = b"") -> Result:
    """What the command does with an admin port over this service."""
    async with serving(service) as client:
        words = ["outcomes", *map(str, arguments), "--admin", str(client.make_url("/"))]
        return await asyncio.to_thread(CliRunner().invoke, main, words, input=stdin)


def file_of(folder: Path, data: bytes | str) -> Path:
    path = folder / "outcomes"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("piped", [False, True])
async def test_lines_of_a_file_or_a_pipe_are_posted_and_bad_ones_told(tmp_path: Path, pack: Any, piped: bool) -> None:
    service, data = FakeService(), pack(LINES)
    done = await understudy(service, "-" if piped else file_of(tmp_path, data), stdin=data)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "3 lines: 2 joined, 1 refused"
    assert done.stdout.splitlines()[1].startswith("  line 3: not JSON")
    assert service.given == [{"key": "a", "name": "conversion", "value": 1}, {"id": "r", "label": True}]


@pytest.mark.parametrize("cut", [",", ";", "\t"])
async def test_a_table_says_in_its_first_line_what_it_holds(tmp_path: Path, cut: str) -> None:
    rows = ["\ufeffKey,value", '"user, ""one""\nof two lines",12.5', "", "u2,much", "u3,nan", "u4,-3"]
    service = FakeService()
    if cut != ",":
        rows = [row.replace(",", cut) for row in rows]
    done = await understudy(service, file_of(tmp_path, "\r\n".join(rows)), "--name", "revenue", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["joined"], told["refused"]) == (1, 2, 2)
    assert [one["line"] for one in told["problems"]] == [5, 6]
    assert [one["value"] for one in service.given] == [12.5, -3.0]
    assert service.given[0]["key"] == f'user{cut} "one"\nof two lines'
    assert {one["name"] for one in service.given} == {"revenue"}


async def test_labels_of_a_table_are_text(tmp_path: Path) -> None:
    service = FakeService()
    done = await understudy(service, file_of(tmp_path, "id,label\na,007\nb,true\nc,cat\nd,1.5\n"))
    assert (done.exit_code, done.stdout) == (0, "4 lines: 4 joined\n")
    assert [one["label"] for one in service.given] == ["007", "true", "cat", "1.5"]


async def test_lines_without_a_name_get_the_one_that_is_given(tmp_path: Path) -> None:
    service = FakeService()
    lines = '{"key": "a", "value": 1}\n{"key": "b", "value": 1, "name": "own"}\nnonsense\n'
    assert "line 3: not JSON" in (await understudy(service, file_of(tmp_path, lines), "--name", "sale")).stdout
    assert [one["name"] for one in service.given] == ["sale", "own"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("user,value\na,1\n", "line 1 names a column `user`; known: key, id, name, value, label, reward"),
        ('[{"key": "a"}]', "jq -c '.[]'"),
    ],
)
async def test_what_is_no_such_file_is_told_before_anything_is_posted(tmp_path: Path, data: str, said: str) -> None:
    service = FakeService()
    done = await understudy(service, file_of(tmp_path, data))
    assert (done.exit_code, service.given) == (1, [])
    assert said in done.stderr
    assert "cannot read" in (await understudy(service, tmp_path / "none")).stderr
    assert (await understudy(service, file_of(tmp_path, ""))).stdout == "0 lines: nothing to post\n"
    for torn in (gzip.compress(LINES)[:12], gzip.compress(LINES)[:10] + b"\xff" * 30):
        assert (await understudy(service, "-", stdin=torn)).exit_code == 2


async def test_after_an_error_it_says_where_to_go_on_and_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, lines = FakeService(), [f'{{"key": "u{n}", "name": "c", "value": 1}}\n' for n in range(2 * AT_ONCE)]
    path, take = file_of(tmp_path, "".join(lines)), service.outcomes

    async def full(entries: list[dict[str, Any]], routes: Any = None) -> dict[str, int]:
        if service.given:
            raise StoreError("disk full")
        return await take(entries, routes)

    monkeypatch.setattr(service, "outcomes", full)
    done = await understudy(service, path)
    assert done.exit_code == 1
    assert (
        f"{AT_ONCE:,} lines before line {AT_ONCE + 1:,} were sent, of lines {AT_ONCE + 1:,} to {2 * AT_ONCE:,} it"
        in done.stderr
    )
    assert f"--from {AT_ONCE + 1} goes on there" in done.stderr
    told = json.loads((await understudy(service, path, "--json", "--from", AT_ONCE + 1)).stdout)
    assert (told["sent"], told["from"], "disk full" in told["error"]) == (0, AT_ONCE + 1, True)
    monkeypatch.setattr(service, "outcomes", take)
    done = await understudy(service, path, "--from", AT_ONCE + 1)
    assert done.stdout == f"{AT_ONCE:,} lines: {AT_ONCE:,} joined\n"
    assert [one["key"] for one in service.given] == [f"u{n}" for n in range(2 * AT_ONCE)]


def test_where_nobody_listens_nothing_else_is_said(tmp_path: Path) -> None:
    words = ["outcomes", str(file_of(tmp_path, LINES)), "--admin", "http://127.0.0.1:1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "cannot reach the admin port" in done.stderr
    assert "--from" not in done.stderr
