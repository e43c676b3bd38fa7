"""Promise: two versions of a model in one real Triton are live and candidate, told apart by the path over REST and by a
field of the message over gRPC: as shadow, canary and promoted, with no error of a client."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from proxy.fields.sticky import message_key
from tests.e2e.harness import Understudy, running
from tests.integration.servers import server
from tests.ports import free_port
from tests.worker.grpc.models import Client

VENV = Path(os.environ.get("TRITON_VENV", ".venv-triton")).absolute()
PYTHON = VENV / "bin" / "python"
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs nvidia-pytriton in TRITON_VENV (`make test-triton`)"),
]

MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.version = float(args["model_version"])

    def execute(self, requests):
        score = np.array([self.version], dtype=np.float32)
        return [pb.InferenceResponse([pb.Tensor("score", score)]) for _ in requests]
"""
CONFIG = """
name: "fraud"
backend: "python"
max_batch_size: 0
input [{ name: "x", data_type: TYPE_FP32, dims: [ 1 ] }]
output [{ name: "score", data_type: TYPE_FP32, dims: [ 1 ] }]
version_policy: { all { } }
instance_group [{ count: 1, kind: KIND_CPU }]
"""
WHERE = """
import pytriton, sys, sysconfig
print(pytriton.__path__[0], sys.version_info[1], sysconfig.get_config_var("LIBDIR"))
"""
COUNT = 60
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of one server with two versions of a model, which say their number."""
    folder = tmp_path_factory.mktemp("triton")
    found = subprocess.run([PYTHON, "-c", WHERE], check=True, timeout=60, capture_output=True, text=True).stdout.split()
    package, minor, libraries = Path(found[0]), found[1], found[2]
    shutil.copytree(package / "tritonserver" / "backends", folder / "backends")
    for stub in (package / "tritonserver" / "python_backend_stubs" / f"3.{minor}").iterdir():
        shutil.copy(stub, folder / "backends" / "python")
        (folder / "backends" / "python" / stub.name).chmod(0o755)
    for version in ("1", "2"):
        (folder / "models" / "fraud" / version).mkdir(parents=True)
        (folder / "models" / "fraud" / version / "model.py").write_text(MODEL)
    (folder / "models" / "fraud" / "config.pbtxt").write_text(CONFIG)
    http, calls = free_port(), free_port()
    command = [
        "env", f"LD_LIBRARY_PATH={package.parent}/nvidia_pytriton.libs:{libraries}", f"PYTHONPATH={package.parent}",
        str(package / "tritonserver" / "bin" / "tritonserver"), f"--model-repository={folder}/models",
        f"--backend-directory={folder}/backends", "--http-address=127.0.0.1", f"--http-port={http}",
        "--grpc-address=127.0.0.1", f"--grpc-port={calls}", "--allow-metrics=false",
    ]  # fmt: skip
    ready = f"http://127.0.0.1:{http}/v2/models/fraud/versions/2/ready"
    with server(command, folder, ready, folder / "log", path=PYTHON.parent):
        yield f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{calls}"


def configuration(upstreams: dict[str, Any], path: str) -> dict[str, Any]:
    stages = [{"shadow": "100%", "min_pairs": 100_000}, {"canary": "50%", "min_pairs": 100_000}]
    prediction = {"protocol": "v2", "output": "score", "kind": "number"}
    rollout = {"candidate": "two", "stages": stages, "guards": {"max_extra_errors": "5%"}, "on_pass": "hold"}
    route = {"name": "r", "match": {"path": path}, "live": "one", "prediction": prediction, "rollouts": [rollout]}
    return {"upstreams": upstreams, "routes": [route]}


async def promote(understudy: Understudy, full: bool | None) -> None:
    if full is not None:
        body = {"reason": "as asked", "full": full}
        await understudy.api("/api/v1/rollouts/r/two/promote", body)


async def compared(understudy: Understudy) -> None:
    rollout = await understudy.until("r/two", lambda r: r["ledger"]["compared"] >= 2 * COUNT, 60)
    assert sum(rollout["candidate_failures"].values()) == 0
    assert (rollout["ledger"]["unparseable"], rollout["ledger"]["live_failed"]) == (0, 0)


async def test_by_path(triton: tuple[str, str], tmp_path: Path) -> None:
    def at(version: str) -> dict[str, Any]:
        path = {"from": "/v2/models/fraud/*", "to": f"/v2/models/fraud/versions/{version}/*"}
        health = {"path": "/v2/models/fraud/ready", "interval": "100ms"}
        return {"url": triton[0], "path": path, "health": health}

    def asked(url: str, number: int) -> float:
        tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [float(number)]}
        body = json.dumps({"inputs": [tensor]}).encode()
        with urllib.request.urlopen(f"{url}/v2/models/fraud/infer", body, timeout=30) as answer:
            return float(json.load(answer)["outputs"][0]["data"][0])

    wanted = configuration({"one": at("1"), "two": at("2")}, "/v2/models/fraud/*")
    async with running(tmp_path, wanted) as understudy:
        await understudy.until("r/two", lambda r: "candidate ready" not in r["stage"]["waiting_for"])
        for full, by in ((None, {1.0}), (False, {1.0, 2.0}), (True, {2.0})):
            await promote(understudy, full)
            assert {asked(understudy.data_url, number) for number in range(COUNT)} == by
        await compared(understudy)


def text(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | 2, len(value))) + value


def request(number: int) -> bytes:
    tensor = text(1, b"x") + text(2, b"FP32") + b"\x1a\x01\x01"
    return text(1, b"fraud") + text(5, tensor) + text(7, struct.pack("<f", number))


async def test_by_a_field_of_the_message(triton: tuple[str, str], tmp_path: Path) -> None:
    health = {"path": "/inference.GRPCInferenceService/ModelReady", "interval": "100ms"}
    ours = {"url": triton[1], "set_json": {"/model_version": "1"}}
    theirs = {"url": triton[1], "set_json": {"/model_name": "fraud", "/model_version": "2"}, "health": health}
    wanted = configuration({"one": ours, "two": theirs}, INFER)
    wanted["server"] = {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0"}
    async with running(tmp_path, wanted) as understudy:
        await understudy.until("r/two", lambda r: "candidate ready" not in r["stage"]["waiting_for"])
        with Client(int(understudy.grpc_address.rpartition(":")[2])) as client:
            for full, by in ((None, {b"1"}), (False, {b"1", b"2"}), (True, {b"2"})):
                await promote(understudy, full)
                versions = set()
                for number in range(COUNT):
                    said = await client.ask(request(number), method=INFER)
                    assert said.code == grpc.StatusCode.OK, said.details
                    framed = b"\0" + len(said.answer).to_bytes(4, "big") + said.answer
                    versions.add(message_key(framed, ("model_version",)))
                assert versions == by
        await compared(understudy)
