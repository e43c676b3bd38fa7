"""Promise: what a connection remembers of its last request is as short as what all of them remember together."""

from __future__ import annotations

import pytest

from proxy.http.known_heads import LONGEST
from proxy.http.request_head import read_request
from tests.worker.rig import Model, always, ok, rig
from tests.worker.test_conformance import CONFIG


@pytest.mark.parametrize(("size", "kept"), [(LONGEST - 100, True), (LONGEST + 1, False)])
async def test_a_long_head_is_not_kept_by_its_connection(size: int, kept: bool) -> None:
    async with rig(CONFIG, (Model(always(ok(b"x"))),)) as it:
        routes = it.worker.context.routes
        head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nx: %s\r\n\r\n"
        request = routes.read(head % (b"y" * (size - len(head) + 2)))
        assert len(request.head) == size == len(read_request(request.head).head)
        assert routes.remember(request) is kept
