"""Promise: behind understudy, MLServer answers its clients byte for byte as it does directly, and pairs are compared.

Two real MLServers with scikit-learn models, in the environment that `make test-mlserver` makes.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.model import Kind, Outcome, PredictionSpec
from proxy.predictions import read_pair
from tests.e2e.harness import Understudy, running
from tests.integration.servers import server
from tests.ports import free_port
from tests.predictions.pairs import pair

pytestmark = pytest.mark.mlserver

PYTHON = Path(os.environ.get("MLSERVER_VENV", ".venv-mlserver")).absolute() / "bin" / "python"
PATH = "/v2/models/digits/infer"


class Servers(NamedTuple):
    """Base URLs of two MLServers, and what their models say without them."""

    live: str
    candidate: str
    expected: dict[str, Any]
    calls: tuple[str, str]
    """The same two over gRPC."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("mlserver")
    ports = [free_port() for _ in range(6)]
    script = Path(__file__).with_name("mlserver_models.py")
    subprocess.run([PYTHON, script, folder, *map(str, ports)], check=True, timeout=120)
    urls = [f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[3]}"]
    start = [str(PYTHON.with_name("mlserver")), "start", "."]
    live, candidate = (
        server(start, folder / name, f"{url}/v2/models/digits/ready", folder / f"{name}.log")
        for name, url in zip(("live", "candidate"), urls, strict=True)
    )
    with live, candidate:
        calls = (f"grpc://127.0.0.1:{ports[1]}", f"grpc://127.0.0.1:{ports[4]}")
        yield Servers(*urls, json.loads((folder / "expected.json").read_text()), calls)


def question(number: int, *rows: list[float]) -> bytes:
    """A request for both outputs. It has an id, since MLServer makes up a random one where there is none."""
    tensor = {"name": "x", "shape": [len(rows), 64], "datatype": "FP64", "data": [x for row in rows for x in row]}
    outputs = [{"name": "predict"}, {"name": "predict_proba"}]
    return json.dumps({"id": f"request-{number}", "inputs": [tensor], "outputs": outputs}).encode()


def ask(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of one request."""
    wanted = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    with urllib.request.urlopen(urllib.request.Request(url + PATH, body, wanted), timeout=10) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def outcome(answer: tuple[int, dict[str, str], bytes]) -> Outcome:
    status, headers, body = answer
    head = f"HTTP/1.1 {status} OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    return Outcome(status, head=head.encode(), body=body)


def test_real_answers_are_read_with_the_values_of_the_models(servers: Servers) -> None:
    rows = servers.expected["rows"]
    for at in range(0, 80, 8):  # a few rows are too short for MLServer to compress
        body = question(at, *rows[at : at + 8])
        live = outcome(ask(servers.live, body))
        candidate = outcome(ask(servers.candidate, body, accept_encoding="gzip"))
        assert b"content-encoding: gzip" in candidate.head
        for output, kind in (("predict", Kind.LABEL), ("predict_proba", Kind.PROBABILITIES)):
            reading = read_pair(PredictionSpec("v2", kind, output), pair(live, candidate))
            assert reading.detail == ""
            for arm, prediction in (("live", reading.live), ("candidate", reading.candidate)):
                assert prediction is not None
                said = servers.expected[arm][output][at : at + 8]
                assert len(prediction.rows) == 8
                for row, own in zip(prediction.rows, said, strict=True):
                    assert row == (pytest.approx(own) if output == "predict_proba" else own)


def test_an_unknown_output_is_refused_by_name(servers: Servers) -> None:
    answer = outcome(ask(servers.live, question(0, servers.expected["rows"][0])))
    reading = read_pair(PredictionSpec("v2", Kind.LABEL, "label"), pair(answer, answer))
    assert "live: output `label` is missing; found `predict`, `predict_proba`" in reading.detail


def configuration(live: str, candidate: str) -> dict[str, Any]:
    return {
        "upstreams": {"v1": {"url": live}, "v2": {"url": candidate}},
        "routes": [
            {
                "name": "digits",
                "match": {"path": PATH, "methods": ["POST"]},
                "live": "v1",
                "prediction": {"protocol": "v2", "output": "predict", "kind": "label"},
                "rollouts": [
                    {
                        "candidate": "v2",
                        "stages": [{"shadow": "100%", "min_pairs": 100_000}],
                        "mirror": {"max_in_flight": 1000},  # the forest is slower than these clients
                        "guards": {"max_disagreement": "30%", "max_extra_errors": "5%"},
                    }
                ],
            }
        ],
    }


def finding(rollout: dict[str, Any], guard: str) -> dict[str, Any]:
    return next(found for found in rollout["findings"] if found["guard"] == guard and found["segment"] is None)


async def compared(understudy: Understudy, pairs: int) -> dict[str, Any]:
    """The rollout once that many pairs have been compared, and a look has been taken at them."""

    def done(rollout: dict[str, Any]) -> bool:
        return bool(rollout["findings"]) and finding(rollout, "max_disagreement")["pairs"] >= pairs

    return await understudy.until("digits/v2", done)


SAME = ("content-type", "content-length", "vary", "ce-specversion", "ce-source", "ce-type", "ce-modelid", "ce-id")


async def test_behind_the_proxy(servers: Servers, tmp_path: Path) -> None:
    rows = servers.expected["rows"][:150]
    async with running(tmp_path, configuration(servers.live, servers.candidate)) as understudy:
        for number, row in enumerate(rows):
            body = question(number, row)
            status, headers, answer = ask(understudy.data_url, body)
            direct_status, direct_headers, direct = ask(servers.live, body)
            assert (status, answer) == (direct_status, direct)
            assert [headers.get(name) for name in SAME] == [direct_headers.get(name) for name in SAME]
        rollout = await compared(understudy, len(rows))
    assert rollout["ledger"]["compared"] == rollout["ledger"]["sampled"] == len(rows)
    assert sum(rollout["candidate_failures"].values()) == 0
    live, candidate = (servers.expected[arm]["predict"][: len(rows)] for arm in ("live", "candidate"))
    share = sum(a != b for a, b in zip(live, candidate, strict=True)) / len(rows)
    assert 0 < share < 0.3
    assert finding(rollout, "max_disagreement")["value"] == pytest.approx(share)


async def test_compressed_both_ways(servers: Servers, tmp_path: Path) -> None:
    async with running(tmp_path, configuration(servers.live, servers.candidate)) as understudy:
        rows = servers.expected["rows"]
        for number in range(20):
            body = gzip.compress(question(number, *rows[8 * number : 8 * number + 8]), mtime=0)
            wanted = {"accept_encoding": "gzip", "content_encoding": "gzip"}
            status, headers, answer = ask(understudy.data_url, body, **wanted)
            assert (status, headers["content-encoding"]) == (200, "gzip")
            direct = ask(servers.live, body, **wanted)[2]
            # The gzip header holds the second in which it was written.
            assert (answer[:4], answer[8:]) == (direct[:4], direct[8:])
        rollout = await compared(understudy, 20)
    assert rollout["ledger"]["compared"] == rollout["ledger"]["sampled"] == 20
    assert sum(rollout["candidate_failures"].values()) == 0


async def test_through_tritonclient(servers: Servers, tmp_path: Path) -> None:
    script = """
import json, sys
import numpy
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
client = InferenceServerClient(sys.argv[1].removeprefix("http://"))
answers = []
for number, row in enumerate(json.load(sys.stdin)):
    tensor = InferInput("x", [1, len(row)], "FP64")
    tensor.set_data_from_numpy(numpy.array([row]), binary_data=False)  # MLServer's REST has no binary tensors
    wanted = [InferRequestedOutput("predict", binary_data=False)]
    result = client.infer("digits", [tensor], outputs=wanted, request_id=str(number))
    answers.append(result.as_numpy("predict").tolist())
print(json.dumps(answers))
"""
    rows = servers.expected["rows"][:30]

    def through(url: str) -> list[Any]:
        done = subprocess.run(
            [PYTHON, "-c", script, url], input=json.dumps(rows), capture_output=True, text=True, check=True, timeout=60
        )
        answers: list[Any] = json.loads(done.stdout)
        return answers

    async with running(tmp_path, configuration(servers.live, servers.candidate)) as understudy:
        assert through(understudy.data_url) == through(servers.live)
        rollout = await compared(understudy, len(rows))
    assert rollout["ledger"]["compared"] == len(rows)
    assert sum(rollout["candidate_failures"].values()) == 0


async def test_through_tritonclient_over_grpc(servers: Servers, tmp_path: Path) -> None:
    """Typed and raw tensors, an unknown model, and whether the server is there: the same with and without the proxy."""
    script = """
import json, sys
import numpy
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException
client = InferenceServerClient(sys.argv[1].removeprefix("grpc://"))
said = [client.is_server_live(), client.is_model_ready("digits"), client.get_model_metadata("digits", as_json=True)]
for number, row in enumerate(json.load(sys.stdin)):
    tensor = InferInput("x", [1, len(row)], "FP64")
    tensor.set_data_from_numpy(numpy.array([row]))
    wanted = [InferRequestedOutput("predict"), InferRequestedOutput("predict_proba")]
    result = client.infer("digits", [tensor], outputs=wanted, request_id=str(number), client_timeout=30.0)
    said.append(result.get_response(as_json=True))
    said += [result.as_numpy(name).tolist() for name in ("predict", "predict_proba")]
try:
    client.infer("nobody", [tensor])
except InferenceServerException as error:
    said.append([str(error.status()), error.message()])
print(json.dumps(said))
"""
    rows = servers.expected["rows"][:40]

    def through(url: str) -> list[Any]:
        done = subprocess.run(
            [PYTHON, "-c", script, url], input=json.dumps(rows), capture_output=True, text=True, check=True, timeout=90
        )
        said: list[Any] = json.loads(done.stdout)
        return said

    config = configuration(*servers.calls)
    config["routes"][0]["match"] = {"path": "/inference.GRPCInferenceService/ModelInfer"}
    config["server"] = {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0", "workers": 2}
    config["default"] = {"live": "v1"}
    async with running(tmp_path, config) as understudy:
        said = through(understudy.grpc_address)
        assert said == through(servers.calls[0])
        rollout = await compared(understudy, len(rows))
    assert said[-1][0] == "StatusCode.NOT_FOUND"
    assert rollout["ledger"]["compared"] == rollout["ledger"]["sampled"] == len(rows) + 1  # both refused the last one
    assert sum(rollout["candidate_failures"].values()) == 0
    live, candidate = (servers.expected[arm]["predict"][: len(rows)] for arm in ("live", "candidate"))
    share = sum(a != b for a, b in zip(live, candidate, strict=True)) / len(rows)
    assert finding(rollout, "max_disagreement")["value"] == pytest.approx(share)
