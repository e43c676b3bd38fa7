"""Promise: while a candidate's real name server hears and never answers, live answers every request."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.dns_server import DnsServer, serve
from tests.e2e import harness
from tests.e2e.harness import route, running
from tests.fakes import FakeModel, Load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a mount namespace"
    ),
]


def with_its_name_server(folder: Path, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on processes ask 127.0.0.77 for all names but these of this machine."""
    (folder / "hosts").write_text(f"127.0.0.1 localhost {names}\n")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:5 attempts:2\n")
    mounts = " && ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mounts} && exec "$@"\' sh {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(harness.sys, "executable", str(python))


async def test_live_does_not_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_its_name_server(tmp_path, "live.test", monkeypatch)
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


async def test_no_request_fails_whatever_the_name_server_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address first, late answers, failures, then other addresses: live answers every request."""
    with_its_name_server(tmp_path, "", monkeypatch)
    dns = DnsServer({"live.test": ("127.0.0.9", "127.0.0.1")})
    transport = await serve(dns, "127.0.0.77")
    old = await FakeModel("v1").start()
    new = await FakeModel("v1", port=old.port, host="127.0.0.2").start()
    upstream = {"url": old.url.replace("127.0.0.1", "live.test"), "resolve": {"every": "200ms"}}
    async with running(tmp_path, {"upstreams": {"v1": upstream}, "default": {"live": "v1"}}) as understudy:
        async with Load(f"{understudy.data_url}/m/infer", 50.0, models={"v1": "v1"}, reuse=False) as load:
            await load.more(50)
            dns.delay = 0.3
            await load.more(50)
            dns.delay, dns.failing = 0.0, {"live.test"}
            await load.more(50)
            assert new.requests == 0
            dns.failing, dns.addresses = set(), {"live.test": ("127.0.0.9", "127.0.0.2")}
            await load.until(lambda: new.requests > 20)
            before = old.requests
            await load.more(50)
            assert old.requests == before, "the address that has left gets nothing"
        assert load.problems() == []
        upstreams = (await understudy.api("/api/v1/upstreams"))["upstreams"]
        assert {row["address"].partition(":")[0] for row in upstreams["v1"]} == {"127.0.0.9", "127.0.0.2"}
    transport.close()
    await old.stop()
    await new.stop()
