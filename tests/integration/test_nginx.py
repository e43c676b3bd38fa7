"""Promise: two models behind one nginx that tells them apart by Host (HTTP; TLS with SNI that must be the Host), or by
base path and key, are asked each as it wants to be: as shadow, canary and promoted, with no error of a client."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Understudy, running
from tests.fakes import certificate
from tests.integration.servers import server
from tests.ports import free_port

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = [pytest.mark.servers, pytest.mark.skipif(NGINX is None, reason="needs nginx")]

ROOT = Path(__file__).parents[2]
ARMS = ("live", "candidate")
KEYS = {arm: f"sk-{arm}-0123456789" for arm in ARMS}
QUESTIONS = [f"question {number}" for number in range(80)]
BASE = """
daemon off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{plain}; location = /health {{ return 200; }} location / {{ return 404; }} }}
  {servers}
}}
"""
BY_HOST = """
  server {{ listen 127.0.0.1:{plain}; server_name {arm}.models; location / {{ proxy_pass http://127.0.0.1:{port}; }} }}
  server {{
    listen 127.0.0.1:{secure} ssl; server_name {arm}.models;
    ssl_certificate {folder}/{arm}.models.pem; ssl_certificate_key {folder}/{arm}.models.key;
    location / {{ if ($ssl_server_name != $host) {{ return 421; }} proxy_pass http://127.0.0.1:{port}; }}
  }}
"""
BY_PATH = """
    location /{arm}/openai/ {{
      if ($http_authorization != "Bearer {key}") {{ return 401; }}
      proxy_pass http://127.0.0.1:{port}/v1/;
    }}
"""


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, str]]:
    """nginx before two chat servers; gives its URL and the one over TLS."""
    ports, plain, secure = {arm: free_port() for arm in ARMS}, free_port(), free_port()
    blocks, paths = "", ""
    for arm in ARMS:
        certificate(folder, f"{arm}.models", names=f"DNS:{arm}.models")
        values = {"arm": arm, "port": ports[arm], "plain": plain, "secure": secure, "folder": folder, "key": KEYS[arm]}
        blocks += BY_HOST.format(**values)
        paths += BY_PATH.format(**values)
    blocks += f"server {{ listen 127.0.0.1:{plain}; server_name paths; {paths} }}"
    (folder / "nginx.conf").write_text(BASE.format(folder=folder, plain=plain, servers=blocks))
    with ExitStack() as started:
        for arm in ARMS:
            command = [sys.executable, "-m", "tests.integration.chat_server", arm, str(ports[arm])]
            started.enter_context(server(command, ROOT, f"http://127.0.0.1:{ports[arm]}/health", folder / f"{arm}.log"))
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        started.enter_context(server(command, folder, f"http://127.0.0.1:{plain}/health", folder / "nginx.log"))
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}"


def by_host(folder: Path, url: str) -> dict[str, Any]:
    return {arm: {"url": url, "host": f"{arm}.models"} for arm in ARMS}


def by_tls(folder: Path, url: str) -> dict[str, Any]:
    return {
        arm: {"url": url, "host": f"{arm}.models", "tls": {"ca": str(folder / f"{arm}.models.pem")}} for arm in ARMS
    }


def by_path(folder: Path, url: str) -> dict[str, Any]:
    return {
        arm: {
            "url": f"{url}/{arm}",
            "host": "paths",
            "path": {"from": "/v1/*", "to": "/openai/*"},
            "headers": {"set": {"authorization": f"Bearer {KEYS[arm]}"}},
        }
        for arm in ARMS
    }


def asked(url: str, question: str) -> tuple[int, str]:
    """Status, and whose answer it is."""
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": question}]}).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer the-clients-own"}
    wanted = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(wanted, timeout=30) as answer:
        answer.read()
        return answer.status, answer.headers["x-served-by"]


@pytest.mark.parametrize("upstreams", [by_host, by_tls, by_path])
async def test_each_arm_is_asked_as_it_wants_to_be(tmp_path: Path, upstreams: Any) -> None:
    (tmp_path / "nginx").mkdir()
    with gateway(tmp_path / "nginx") as (plain, secure):
        rollout = {
            "candidate": "candidate",
            "stages": [{"shadow": "100%", "min_pairs": 100_000}, {"canary": "50%", "min_pairs": 100_000}],
            "mirror": {"max_in_flight": 1000},
            "guards": {"max_extra_errors": "5%", "max_disagreement": "90%"},
            "record": {"path": str(tmp_path / "pairs.jsonl"), "share": "100%"},
            "on_pass": "hold",
        }
        route = {
            "name": "r",
            "live": "live",
            "prediction": {"protocol": "openai", "output": "finish_reason", "kind": "label"},
            "rollouts": [rollout],
        }
        wanted = {
            "upstreams": upstreams(tmp_path / "nginx", secure if upstreams is by_tls else plain),
            "routes": [route],
        }
        async with running(tmp_path, wanted) as understudy:
            for full, by in ((None, {"live"}), (False, set(ARMS)), (True, {"candidate"})):
                if full is not None:
                    body = {"reason": "as asked", "full": full}
                    await understudy.api("/api/v1/rollouts/r/candidate/promote", body)
                answers = [asked(understudy.data_url, question) for question in QUESTIONS]
                assert {status for status, _ in answers} == {200}
                assert {arm for _, arm in answers} == by
            await compared(understudy)
        assert not any(key in (tmp_path / "pairs.jsonl").read_text() for key in (*KEYS.values(), "the-clients-own"))


async def compared(understudy: Understudy) -> None:
    rollout = await understudy.until("r/candidate", lambda r: r["ledger"]["compared"] >= 2 * len(QUESTIONS), 60)
    assert sum(rollout["candidate_failures"].values()) == 0
    assert rollout["ledger"]["unparseable"] == rollout["ledger"]["live_failed"] == 0
