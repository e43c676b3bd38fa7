"""Promise: two real TorchServes with their default tokens are live and candidate: each is asked with its own token, as
shadow, canary and promoted, no client sees an error, and no token is in what is written; one without its token is
rolled back before it serves.

TorchServe asks for no more of PyTorch than a name where the model has no use for it, so a file stands in for that: its
frontend, which checks the tokens, and its workers are TorchServe's own (`make test-torchserve`, needs Java 11).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import running
from tests.e2e.keys import written
from tests.integration.servers import server
from tests.ports import free_port

VENV = Path(os.environ.get("TORCHSERVE_VENV", ".venv-torchserve")).absolute()
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        not (VENV / "bin" / "torchserve").exists() or shutil.which("java") is None,
        reason="needs TorchServe in TORCHSERVE_VENV (`make test-torchserve`) and Java",
    ),
]
HANDLER = """
import json, zlib

def handle(data, context):
    tabby = [zlib.crc32(str(one["body"]).encode()) % 2 for one in data or ()]
    return [json.dumps({"tabby": 0.25 + yes / 2, "lynx": 0.75 - yes / 2}) for yes in tabby] if data else None
"""
MANIFEST = {
    "runtime": "python",
    "model": {"modelName": "cats", "handler": "handler.py:handle", "modelVersion": "1.0"},
}
SETTINGS = """
inference_address=http://127.0.0.1:{}
management_address=http://127.0.0.1:{}
metrics_address=http://127.0.0.1:{}
grpc_inference_port={}
grpc_management_port={}
initial_worker_port={}
default_workers_per_model=1
number_of_netty_threads=2
"""
TEXT = {"content-type": "text/plain"}
AT_A_TIME = 40


def token(folder: Path) -> str:
    """What a server asks of those who want predictions, and of its health checks; raises as long as there is none."""
    return str(json.loads((folder / "key_file.json").read_text())["inference"]["key"])


def prepared(folder: Path) -> tuple[str, list[str]]:
    """A server's folder with its model; its URL, and the command that starts it."""
    (folder / "store").mkdir(parents=True)
    (folder / "torch.py").write_text("class Tensor: ...\n")
    with zipfile.ZipFile(folder / "store" / "cats.mar", "w") as archive:
        archive.writestr("handler.py", HANDLER)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(MANIFEST))
    ports = [free_port() for _ in range(6)]
    (folder / "config.properties").write_text(SETTINGS.format(*ports))
    start = (
        "torchserve --start --foreground --ncs --model-store store --models cats=cats.mar --ts-config config.properties"
    )
    (folder / "tmp").mkdir()  # a machine's TorchServes know each other by a file in there, and allow one
    names = {
        "PYTHONPATH": folder,
        "TMPDIR": folder / "tmp",
        "LOG_LOCATION": folder / "logs",
        "METRICS_LOCATION": folder / "logs",
    }
    return f"http://127.0.0.1:{ports[0]}", [
        "env",
        *(f"{name}={value}" for name, value in names.items()),
        *start.split(),
    ]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, str]]]:
    """URL and inference token of two servers."""
    found: list[tuple[str, str]] = []
    with ExitStack() as stack:
        for name in ("live", "candidate"):
            folder = tmp_path_factory.mktemp("torchserve") / name
            url, command = prepared(folder)

            def ready(url: str = url, folder: Path = folder) -> urllib.request.Request:
                own = {**TEXT, "authorization": f"Bearer {token(folder)}"}  # `/ping` succeeds before the model is there
                return urllib.request.Request(f"{url}/predictions/cats", b"0", own)

            stack.enter_context(server(command, folder, ready, folder / "log", within=240.0, path=VENV / "bin"))
            found.append((url, token(folder)))
        yield found


def configuration(folder: Path, servers: list[tuple[str, str]], key: str) -> dict[str, Any]:
    (live, live_token), (candidate, _) = servers
    (folder / "token").write_text(key)
    rollout = {
        "candidate": "v2",
        "stages": [{"shadow": "100%", "min_pairs": 40}, {"canary": "50%", "min_pairs": 40}],
        "guards": {"max_disagreement": "30%", "max_extra_errors": "20%"},
        "record": {"path": str(folder / "pairs.jsonl"), "share": "100%"},
    }
    return {
        "upstreams": {
            "v1": {"url": live, "headers": {"set": {"authorization": f"Bearer {live_token}"}}},
            "v2": {
                "url": candidate,
                "headers": {"set": {"authorization": "Bearer ${file:token}"}},
                **({"health": {"path": "/ping", "interval": "1s"}} if key != live_token else {}),
            },
        },
        "routes": [
            {
                "name": "cats",
                "match": {"path": "/predictions/cats"},
                "live": "v1",
                "prediction": {"protocol": "torchserve", "kind": "label"},
                "rollouts": [rollout],
            }
        ],
    }


async def until_the_end(folder: Path, config: dict[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """The rollout at its end, and which arm answered how often: asked until then, and once more."""
    number = 0
    served: Counter[str] = Counter()
    rollout: dict[str, Any] = {"state": ""}

    def asks(url: str) -> None:
        nonlocal number
        for _ in range(AT_A_TIME):
            number += 1
            request = urllib.request.Request(f"{url}/predictions/cats", b"%d" % number, TEXT)
            with urllib.request.urlopen(request, timeout=30) as answer:  # raises at any error
                assert set(json.load(answer)) == {"tabby", "lynx"}
                served[answer.headers["x-served-by"]] += 1

    async with running(folder, config) as understudy:
        for _ in range(100):
            await asyncio.to_thread(asks, understudy.data_url)
            if rollout["state"] in ("promoted", "rolled_back"):
                return rollout, served
            rollout = await understudy.rollout("cats/v2")
    pytest.fail(f"no end: {rollout}")


async def test_each_is_asked_with_its_own_token(servers: list[tuple[str, str]], tmp_path: Path) -> None:
    tokens = [key for _, key in servers]
    assert tokens[0] != tokens[1]
    rollout, served = await until_the_end(tmp_path, configuration(tmp_path, servers, tokens[1]))
    assert rollout["state"] == "promoted"
    assert served["v2"] >= AT_A_TIME, "promoted, it answers alone"
    assert rollout["ledger"]["compared"] >= 80
    assert sum(rollout["candidate_failures"].values()) == 0
    files = written(tmp_path).items()
    holders = {name for name, content in files if any(one.encode() in content for one in tokens)}
    assert holders <= {"token", "understudy.yaml", "config.yaml"}, holders


async def test_one_without_its_token_never_serves(servers: list[tuple[str, str]], tmp_path: Path) -> None:
    rollout, served = await until_the_end(tmp_path, configuration(tmp_path, servers, servers[0][1]))
    assert rollout["state"] == "rolled_back"
    assert set(served) == {"v1"}
