"""Promise: two models in one MLServer process are live and candidate, told apart by the path (REST) and by the name in
the message (gRPC): in shadow, as canary and promoted, each answers for itself, and no client sees an error."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.harness import Understudy, running
from tests.integration.servers import server
from tests.integration.test_mlserver import PYTHON, ask, configuration, question
from tests.ports import free_port

pytestmark = pytest.mark.mlserver
STAGES = [{"shadow": "100%", "min_pairs": 40}, {"canary": "50%", "min_pairs": 40}]
REPEAT = 40
"""Rows asked at a time."""
CALLS = """
import json, sys
import numpy
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
client = InferenceServerClient(sys.argv[1].removeprefix("grpc://"))
said = []
for number, row in json.load(sys.stdin):
    tensor = InferInput("x", [1, len(row)], "FP64")
    tensor.set_data_from_numpy(numpy.array([row]))
    wanted = [InferRequestedOutput("predict")]
    result = client.infer("digits", [tensor], outputs=wanted, request_id=str(number), client_timeout=30.0)
    said.append([number, result.get_response().model_name, result.as_numpy("predict").ravel().tolist()])
print(json.dumps(said))
"""


class Server(NamedTuple):
    """One MLServer: its URLs for REST and gRPC, and what its two models say without it."""

    url: str
    calls: str
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlserver")
    ports = [free_port() for _ in range(3)]
    script = Path(__file__).with_name("mlserver_models.py")
    subprocess.run([PYTHON, script, folder, *map(str, ports)], check=True, timeout=120)
    url = f"http://127.0.0.1:{ports[0]}"
    start = [str(PYTHON.with_name("mlserver")), "start", "."]
    with server(start, folder / "both", f"{url}/v2/models/digits-next/ready", folder / "both.log"):
        yield Server(url, f"grpc://127.0.0.1:{ports[1]}", json.loads((folder / "expected.json").read_text()))


def placed(one: Server, grpc: bool) -> dict[str, Any]:
    """Both models of the server, as docs/placements.md says."""
    url = one.calls if grpc else one.url
    config = configuration(url, url)
    path = {"from": "/v2/models/digits/*", "to": "/v2/models/digits-next/*"}
    config["upstreams"]["v2"] |= {"set_json": {"/model_name": "digits-next"}} if grpc else {"path": path}
    (route,) = config["routes"]
    route["rollouts"][0]["stages"] = STAGES
    if grpc:
        route["match"] = {"path": "/inference.GRPCInferenceService/ModelInfer"}
        config["server"] = {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0", "workers": 2}
    return config


async def promoted(understudy: Understudy, asks: Any) -> tuple[dict[str, Any], Counter[str]]:
    """The rollout at its end, and which arm answered how often, asking until then and once more."""
    served: Counter[str] = Counter()
    rollout: dict[str, Any] = {"state": ""}
    for _ in range(100):
        served += await asyncio.to_thread(asks)
        if rollout["state"] == "promoted":
            return rollout, served
        rollout = await understudy.rollout("digits/v2")
        assert rollout["state"] != "rolled_back", rollout
    pytest.fail(f"not promoted: {rollout}")


def judged(rollout: dict[str, Any], served: Counter[str], expected: dict[str, Any]) -> None:
    assert set(served) == {"v1", "v2"}
    assert served["v2"] >= REPEAT, "promoted, it answers alone"
    assert rollout["ledger"]["compared"] >= 80
    assert sum(rollout["candidate_failures"].values()) == 0
    assert expected["live"]["predict"][:REPEAT] != expected["candidate"]["predict"][:REPEAT]


async def test_over_rest(one: Server, tmp_path: Path) -> None:
    rows, number = one.expected["rows"], 0
    arms = {"v1": ("live", "digits"), "v2": ("candidate", "digits-next")}

    async with running(tmp_path, placed(one, grpc=False)) as understudy:

        def asks() -> Counter[str]:
            nonlocal number
            served: Counter[str] = Counter()
            for _ in range(REPEAT):
                number = number + 1
                at = number % len(rows)
                status, headers, answer = ask(understudy.data_url, question(number, rows[at]))
                arm, name = arms[headers["x-served-by"]]
                said = json.loads(answer)
                assert (status, said["model_name"]) == (200, name)
                assert said["outputs"][0]["data"] == [one.expected[arm]["predict"][at]]
                served[headers["x-served-by"]] += 1
            return served

        rollout, served = await promoted(understudy, asks)
    judged(rollout, served, one.expected)


async def test_over_grpc(one: Server, tmp_path: Path) -> None:
    rows, number = one.expected["rows"], 0
    arms = {"digits": ("v1", "live"), "digits-next": ("v2", "candidate")}

    async with running(tmp_path, placed(one, grpc=True)) as understudy:

        def asks() -> Counter[str]:
            nonlocal number
            asked = [(n, rows[n % len(rows)]) for n in range(number, number + REPEAT)]
            number += REPEAT
            command = [PYTHON, "-c", CALLS, understudy.grpc_address]
            done = subprocess.run(
                command, input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=90
            )
            served: Counter[str] = Counter()
            for n, name, said in json.loads(done.stdout):
                upstream, arm = arms[name]
                assert said == [one.expected[arm]["predict"][n % len(rows)]]
                served[upstream] += 1
            return served

        rollout, served = await promoted(understudy, asks)
    judged(rollout, served, one.expected)
