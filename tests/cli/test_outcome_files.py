"""Promise: whatever a file of outcomes holds, `understudy outcomes` ends in words: a wrong row is told by its line and
costs no other, and a file that cannot be read to its end is posted to where it could be, and says where to go on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from proxy.cli.outcomes import AT_ONCE
from tests.cli.test_outcomes import file_of, understudy
from tests.controller.fake_service import FakeService

DEEP = '{"key": ' + "[" * 6000 + "]" * 6000 + ', "name": "c", "value": 1}'


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('"u2,5', "a quote is not closed"),
        ("u2,1,234", "3 cells, where line 1 names 2 columns"),
        ('u2,"1"5', "not CSV"),
        ("u\udcff2,5", "not UTF-8"),
        ("u" * 200_000 + ",5", "not CSV: field larger than field limit"),
    ],
)
@pytest.mark.parametrize("after", [1, AT_ONCE, 3 * AT_ONCE])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_a_wrong_row_is_told_and_costs_no_other(
    tmp_path: Path, row: str, said: str, after: int, end: str
) -> None:
    rows, service = ["key,value", "u1,5", row, *(f"v{n},7" for n in range(after))], FakeService()
    data = end.join(rows).encode("utf-8", "surrogateescape")
    done = await understudy(service, file_of(tmp_path, data), "--name", "sale", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["joined"], told["refused"], told["sent"]) == (1, after + 1, 1, after + 2)
    assert [one["line"] for one in told["problems"]] == [3]
    assert said in told["problems"][0]["problem"]
    assert [one["key"] for one in service.given] == ["u1", *(f"v{n}" for n in range(after))]


async def test_a_row_of_several_lines_has_the_number_of_its_first(tmp_path: Path) -> None:
    done = await understudy(FakeService(), file_of(tmp_path, 'key,name,value\n"a\nb",c,1\n"c\nd",c,much\n'))
    assert "  line 4: value is a number" in done.stdout


async def test_a_label_of_many_digits_is_a_text(tmp_path: Path) -> None:
    service = FakeService()
    done = await understudy(service, file_of(tmp_path, f"id,label\na,{'7' * 5000}\nb,7\n"))
    assert (done.exit_code, done.stdout) == (0, "2 lines: 2 joined\n")
    assert [one["label"] for one in service.given] == ["7" * 5000, "7"]


async def test_a_line_nested_too_deep_is_refused_alone(tmp_path: Path) -> None:
    lines = f'{{"key": "a", "value": 1}}\n{DEEP}\n'
    done = await understudy(FakeService(), file_of(tmp_path, lines), "--name", "c")
    assert done.stdout.startswith("2 lines: 1 joined, 1 refused\n  line 2: not JSON")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("key,value,Value", "line 1 names the column `value` twice"),
        ("k\udcffy,value", "line 1 names a column `k?y`"),
        ("x" * 200_000, "line 1 is neither JSON nor the names of columns"),
    ],
)
async def test_a_first_line_that_names_no_columns_is_told(tmp_path: Path, head: str, said: str) -> None:
    service = FakeService()
    done = await understudy(service, file_of(tmp_path, f"{head}\nu1,1,2\n".encode("utf-8", "surrogateescape")))
    assert (done.exit_code, service.given) == (1, [])
    assert said in done.stderr


def damaged(data: bytes, how: str) -> bytes:
    packed = gzip.compress(data)
    if how == "cut":
        return packed[: len(packed) * 2 // 3]
    if how == "crc":
        return packed[:-8] + b"\0\0\0\0" + packed[-4:]
    middle = len(packed) // 2
    return packed[:middle] + b"\xff" * 64 + packed[middle + 64 :]


@pytest.mark.parametrize("how", ["cut", "crc", "middle"])
@pytest.mark.parametrize("table", [False, True])
async def test_a_file_that_ends_too_early_is_posted_so_far_and_says_where_to_go_on(
    tmp_path: Path, how: str, table: bool
) -> None:
    keys = [f"u{Random(n).getrandbits(64)}" for n in range(2 * AT_ONCE)]
    lines = ["key,name,value", *(f"{key},c,1" for key in keys)]
    if not table:
        lines = [f'{{"key": "{key}", "name": "c", "value": 1}}' for key in keys]
    path, service = file_of(tmp_path, damaged("\n".join(lines).encode(), how)), FakeService()
    done = await understudy(service, path, "--json")
    told, came = json.loads(done.stdout), [one["key"] for one in service.given]
    assert (done.exit_code, told["joined"]) == (1, len(came))
    assert came
    assert told["from"] > table + told["sent"]
    assert f"--from {told['from']} goes on there" in done.stderr
    if how != "middle":  # where the stream itself is damaged, a line may be of its wrong bytes
        assert came == keys[: len(came)]
        assert (told["sent"], told["from"]) == (len(came), 1 + table + len(came))
    path.write_text("\n".join(lines))
    await understudy(service, path, "--from", told["from"])
    assert [one["key"] for one in service.given][-1] == keys[-1]
    if how != "middle":
        assert [one["key"] for one in service.given] == keys
