"""Promise: of outcomes sent one a line the good ones are taken and the bad ones told by number, whatever the length of
the body, how it is cut, coded or passed on; who is cut off is told up to which line all was taken."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Collection
from typing import Any

import orjson
import pytest

from proxy.controller.admin.handlers import MAX_BODY
from proxy.controller.admin.outcome_lines import MOST_LINE, MOST_TOLD, PART
from proxy.errors import StoreError
from tests.controller.admin.clients import Client, problem
from tests.controller.fake_service import FakeService

LINES = {"content-type": "application/x-ndjson"}
PATH = "/api/v1/outcomes"


def bought(n: int) -> bytes:
    return orjson.dumps({"key": f"user-{n}", "name": "conversion", "value": 1}) + b"\n"


async def post(client: Client, body: Any, **headers: str) -> dict[str, Any]:
    answer = await client.post(PATH, data=body, headers=LINES | headers)
    assert answer.status == 200, await answer.text()
    found: dict[str, Any] = await answer.json()
    return found


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def test_good_lines_are_taken_and_bad_ones_told_by_number(client: Client, service: FakeService) -> None:
    lines = [
        b"\xef\xbb\xbf" + bought(0),
        b'{"key": "u", "name": "conversion", "value": NaN}\n',
        b"\r\n",
        b'{"id": "r", "label": 123456789012345678901}\r\n',
        b'[{"key": "u", "name": "conversion", "value": 1}]\n',
        b"x" * (3 * MOST_LINE) + b"\n",
        b'{"key": "u", "name": "conversion", "value": "1"}\n',
        bought(7)[:-1],
    ]
    found = await post(client, b"".join(lines))
    assert (found["joined"], found["lines"], found["refused"]) == (3, 8, 4)
    assert [one["line"] for one in found["problems"]] == [2, 5, 6, 7]
    said = [one["problem"] for one in found["problems"]]
    assert said[0].startswith("not JSON")
    assert said[0].endswith(", column 45"), "of that line: no other number stands in it"
    assert said[1].startswith("it is an object of id and one of label, value, reward")
    assert said[2:] == [f"longer than {MOST_LINE:,} bytes", "value is a number from -1e+12 to 1e+12; found '1'"]
    assert [one.get("key") or one["id"] for one in service.given] == ["user-0", "r", "user-7"]
    assert service.given[1]["label"] == "123456789012345678901"


@pytest.mark.parametrize("size", [7, 64, 997])
async def test_however_it_is_cut(client: Client, service: FakeService, size: int) -> None:
    body = b"".join([bought(0), b"y" * (MOST_LINE + 50) + b"\n", b"{\n", bought(3)])
    found = await post(client, in_pieces(body, size))
    assert ([one["line"] for one in found["problems"]], found["joined"]) == ([2, 3], 2)
    assert [one["key"] for one in service.given] == ["user-0", "user-3"]


async def test_a_long_body_is_taken_in_parts_and_only_the_first_problems_are_told(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[int] = []
    taken = service.outcomes

    async def counted(entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> dict[str, int]:
        parts.append(len(entries))
        return await taken(entries, routes)

    monkeypatch.setattr(service, "outcomes", counted)
    body = b"".join(map(bought, range(12 * PART))) + b"{\n" * (MOST_TOLD + 5)
    assert len(body) > MAX_BODY
    found = await post(client, gzip.compress(body), **{"content-encoding": "gzip"})
    assert (found["joined"], found["refused"], len(found["problems"])) == (12 * PART, MOST_TOLD + 5, MOST_TOLD)
    assert parts == [PART] * 12
    assert [one["key"] for one in service.given] == [f"user-{n}" for n in range(12 * PART)]


async def test_where_no_line_is_right_it_is_an_error_with_the_first_line(client: Client, service: FakeService) -> None:
    said = await problem(await client.post(PATH, data=b"{\n7\n", headers=LINES), 400)
    assert said["detail"].startswith("None of 2 lines is an outcome. Line 1: not JSON")
    assert [one["line"] for one in said["problems"]] == [1, 2]
    assert service.given == []
    assert (await post(client, b"\n\n"))["lines"] == 2


async def test_who_is_cut_off_is_told_up_to_which_line_all_was_taken(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def second_fails(entries: list[dict[str, Any]], routes: Collection[str] | None = None) -> dict[str, int]:
        if service.given:
            raise StoreError("the disk is full")
        service.given += entries
        return {"joined": len(entries), "unknown": 0}

    monkeypatch.setattr(service, "outcomes", second_fails)
    body = b"{\n" + b"".join(map(bought, range(2 * PART)))
    said = await problem(await client.post(PATH, data=body, headers=LINES), 503)
    assert said["detail"] == f"The store is not available: the disk is full. Lines 1 to {PART + 1:,} were taken."
    assert (said["taken_lines"], len(service.given)) == (PART + 1, PART)


async def test_a_body_in_another_coding_is_told(client: Client, service: FakeService) -> None:
    torn = gzip.compress(bought(0))[:-9] + b"no gzip any more"
    said = await problem(await client.post(PATH, data=torn, headers=LINES | {"content-encoding": "gzip"}), 400)
    assert "encoded" in said["detail"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare"])
@pytest.mark.parametrize("size", [3, 1000, 1 << 20])
async def test_a_coded_body_that_is_cut_off_is_told_up_to_where_it_was_taken(
    client: Client, service: FakeService, coding: str, size: int
) -> None:
    body = b"".join(map(bought, range(PART + 5)))
    coder = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "bare": -15}[coding])
    packed = coder.compress(body) + coder.flush()
    head = LINES | {"content-encoding": coding.replace("bare", "deflate")}
    cut = in_pieces(packed[: -1 if coding == "bare" else -4], size)
    said = await problem(await client.post(PATH, data=cut, headers=head), 400)
    assert (said["taken_lines"], len(service.given)) == (PART, PART)
    assert "ends early" in said["detail"]
    service.given.clear()
    assert (await post(client, in_pieces(packed, size), **head))["joined"] == PART + 5


async def test_members_of_a_gzip_stream_are_one_body(client: Client) -> None:
    packed = gzip.compress(bought(0)) + gzip.compress(bought(1) * 9000)
    for size in (1, 64, len(packed)):
        found = await post(client, in_pieces(packed, size), **{"content-encoding": "gzip"})
        assert found["joined"] == 9001


@pytest.mark.parametrize("coding", ["br", "gzip, gzip"])
async def test_a_coding_that_is_not_known_is_told(client: Client, coding: str) -> None:
    head = LINES | {"content-encoding": coding}
    assert "encoded" in (await problem(await client.post(PATH, data=bought(0), headers=head), 400))["detail"]


async def test_a_coded_list_is_bounded_by_what_comes_out_and_told_when_it_is_cut_off(client: Client) -> None:
    head = {"content-encoding": "gzip"}
    one = gzip.compress(b"[" + bought(0) + b"]")
    assert (await client.post(PATH, data=one, headers=head)).status == 200
    await problem(await client.post(PATH, data=one[:-4], headers=head), 400)
    await problem(await client.post(PATH, data=gzip.compress(b" " * (MAX_BODY + 1)), headers=head), 413)


async def test_lines_under_another_content_type_are_told_the_right_one(client: Client) -> None:
    said = await problem(await client.post(PATH, data=bought(0) + bought(1)), 400)
    assert "content-type: application/x-ndjson" in said["detail"]
    said = await problem(await client.post(PATH, data=b'{"key": '), 400)
    assert "ndjson" not in said["detail"]
