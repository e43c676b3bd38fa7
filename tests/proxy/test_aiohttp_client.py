"""Promise: a client asks an https server whose authority this machine trusts, and no other; a process that asks none
reads no authorities."""

from __future__ import annotations

import ast
import os
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import proxy
from proxy.aiohttp_client import connector, this_machines_trust
from proxy.handover import PACKAGE_PARENT
from tests.e2e.harness import served
from tests.fakes import certificate

ROOT = Path(proxy.__file__).parent
ELSEWHERE = {"aiohttp_client.py", "demo"}
"""Where aiohttp's own is used: here, and by the demo, which asks nobody but itself."""

LOOKS = """
import os, sys
before = dict(os.environ)
import proxy.controller.process
from aiohttp import connector
from proxy.aiohttp_client import this_machines_trust
read = [context.cert_store_stats()["x509"] for context in (connector._SSL_CONTEXT_VERIFIED, this_machines_trust())]
print(dict(os.environ) == before, *read, this_machines_trust().check_hostname)
"""


@pytest.mark.parametrize("named", [True, False])
def test_a_controller_reads_the_authorities_when_they_are_needed(named: bool, tmp_path: Path) -> None:
    """And its environment is what it was."""
    certificate(tmp_path, "one")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    environment |= {"SSL_CERT_FILE": str(tmp_path / "one.pem")} if named else {}
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOKS], env={**environment, "PYTHONPATH": PACKAGE_PARENT}, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    same, at_import, later, checks = done.stdout.split()
    assert (same, at_import, checks) == ("True", "0", "True")
    if named:
        assert int(later) >= 1


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_server_is_trusted_by_what_this_machine_trusts(
    trusts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{'one' if trusts else 'other'}.pem"))
    this_machines_trust.cache_clear()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "one.pem", tmp_path / "one.key")
    try:
        async with served(web.Application(), server) as url, aiohttp.ClientSession(connector=connector()) as session:
            if trusts:
                async with session.get(url) as answer:
                    assert answer.status == 404
            else:
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.get(url)
    finally:
        this_machines_trust.cache_clear()


def test_every_client_takes_its_connections_from_here() -> None:
    """With aiohttp's own connector no server would be trusted."""
    calls = 0
    for path in ROOT.rglob("*.py"):
        if ELSEWHERE & {path.name, path.relative_to(ROOT).parts[0]}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            assert name != "TCPConnector", path
            if name == "ClientSession":
                assert isinstance(node, ast.Call)
                assert "connector" in {keyword.arg for keyword in node.keywords}, path
                calls += 1
    assert calls >= 5
