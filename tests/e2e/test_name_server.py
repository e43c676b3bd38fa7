"""Promise: while a candidate's real name server hears and never answers, live answers every request."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.e2e import harness
from tests.e2e.harness import route, running
from tests.fakes import FakeModel, Load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a mount namespace"
    ),
]


async def test_live_does_not_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost live.test\n")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:5 attempts:2\n")
    mounts = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mounts} && exec "$@"\' sh {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(harness.sys, "executable", str(python))
    live = await FakeModel("v1").start()
    upstreams = {"v1": {"url": live.url.replace("127.0.0.1", "live.test")}, "v2": {"url": "http://candidate.test:9"}}
    routes = [route("m", "v1", "v2", [{"shadow": "100%"}], guards={"max_extra_errors": "5%"})]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.77", 53))
        async with running(tmp_path, {"upstreams": upstreams, "routes": routes}) as understudy:
            url = f"{understudy.data_url}/m/infer"
            async with Load(url, 50.0, models={"v1": "v1"}, reuse=False) as load:
                await load.more(300)
            assert load.problems() == []
            assert await understudy.stop(within=20.0) == 0, "no lookup keeps it from ending"
    await live.stop()
