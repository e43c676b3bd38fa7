"""Record real answers of real model servers: `python -m tests.golden.record` (after `make test-mlserver test-servers`).

Starts each server with the models of `tests/integration`, asks it, and writes one file per server that says which
version answered, what was asked, the answer's head and body as they came (without transfer framing), and what the
model itself, trained here once more, says of the same rows. `tests/predictions/test_golden.py` reads them back.
"""

from __future__ import annotations

import base64
import http.client
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from proxy.predictions.v2_grpc import METHOD
from tests.integration.language import NAMES, Words, questions
from tests.integration.servers import server
from tests.ports import free_port
from tests.predictions.messages import ModelInferRequest, ModelInferResponse, framed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPTS = ROOT / "tests" / "integration"
MLSERVER, SERVERS = (ROOT / name / "bin" / "python" for name in (".venv-mlserver", ".venv-servers"))

PIXELS, LABELS = load_digits(return_X_y=True)
HALF = len(PIXELS) // 2
MODEL = LogisticRegression(max_iter=2000).fit(PIXELS[:HALF] / 16, LABELS[:HALF])
ROWS = PIXELS[HALF : HALF + 8] / 16
LABEL = {"kind": "label", "rows": MODEL.predict(ROWS).tolist()}
PROBABILITIES = {"kind": "probabilities", "rows": MODEL.predict_proba(ROWS).tolist()}
NAME = {"kind": "label", "rows": [f"digit {digit}" for digit in LABEL["rows"]]}


def ask(port: int, target: str, body: bytes, **headers: str) -> dict[str, str]:
    """One answer: head as text, body as base64."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    wanted = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", target, body, wanted)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders()) + "\r\n"
    return {"target": target, "head": head, "body": base64.b64encode(answer.read()).decode()}


def tensor(**more: Any) -> dict[str, Any]:
    return {"name": "x", "shape": list(ROWS.shape), "datatype": "FP32", **more}


def v2_json(*names: str) -> bytes:
    outputs = [{"name": name} for name in names]
    return json.dumps({"id": "golden", "inputs": [tensor(data=ROWS.ravel().tolist())], "outputs": outputs}).encode()


def mlserver(port: int, calls: int) -> Iterator[dict[str, Any]]:
    target = "/v2/models/digits/infer"
    question = v2_json("predict", "predict_proba")
    plain, packed = ask(port, target, question), ask(port, target, question, Accept_Encoding="gzip")
    for output, expected in (("predict", LABEL), ("predict_proba", PROBABILITIES)):
        for answer in (plain, packed, call(calls, raw=False), call(calls, raw=True)):
            yield {**answer, "protocol": "v2", "output": output, **expected}


def call(port: int, raw: bool) -> dict[str, str]:
    """One answer over gRPC, its values typed, or raw as the request's are; the head as the proxy writes it."""
    request = ModelInferRequest(model_name="digits", id="golden")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    if raw:
        request.raw_input_contents.append(struct.pack(f"<{ROWS.size}f", *ROWS.ravel()))
    else:
        tensor.contents.fp32_contents.extend(ROWS.ravel().tolist())
    for name in ("predict", "predict_proba"):
        request.outputs.add(name=name)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        message = channel.unary_unary(METHOD)(request.SerializeToString(), timeout=30, wait_for_ready=True)
    assert bool(ModelInferResponse.FromString(message).raw_output_contents) is raw
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n"
    return {"target": METHOD, "head": head, "body": base64.b64encode(framed(message)).decode()}


def kserve(port: int, _: int) -> Iterator[dict[str, Any]]:
    target = "/v1/models/digits:predict"
    answer = ask(port, target, json.dumps({"instances": ROWS.tolist()}).encode())
    yield {**answer, "protocol": "kserve-v1", "output": "", **LABEL}
    target = "/v2/models/digits/infer"
    raw = struct.pack(f"<{ROWS.size}f", *ROWS.ravel())
    entry = tensor(parameters={"binary_data_size": len(raw)})
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("predict", "predict_proba", "name")]
    head = json.dumps({"id": "golden", "inputs": [entry], "outputs": outputs}).encode()
    binary = ask(
        port,
        target,
        head + raw,
        Content_Type="application/octet-stream",
        Inference_Header_Content_Length=str(len(head)),
    )
    assert "inference-header-content-length" in binary["head"].lower()
    for output, expected in (("predict", LABEL), ("predict_proba", PROBABILITIES), ("name", NAME)):
        for answer in (ask(port, target, v2_json(output)), binary):
            yield {**answer, "protocol": "v2", "output": output, **expected}


def litserve(port: int) -> Iterator[dict[str, Any]]:
    """Its OpenAI protocol, streamed and not."""
    question = questions()[0]
    words = {"kind": "text", "rows": [" ".join(Words("live").says(question))]}
    asked = {"model": NAMES["live"], "messages": [{"role": "user", "content": question}]}
    for stream in (False, True):
        answer = ask(port, "/v1/chat/completions", json.dumps({**asked, "stream": stream}).encode())
        yield {**answer, "protocol": "openai", "output": "text", **words}


def bentoml(port: int) -> Iterator[dict[str, Any]]:
    answer = ask(port, "/classify", json.dumps({"rows": ROWS.tolist()}).encode())
    for pointer, expected in (("/labels", LABEL), ("/probabilities", PROBABILITIES)):
        yield {**answer, "protocol": "json", "output": "", "pointer": pointer, **expected}


def mlflow(port: int, _: int) -> Iterator[dict[str, Any]]:
    answer = ask(port, "/invocations", json.dumps({"inputs": ROWS.tolist()}).encode())
    yield {**answer, "protocol": "mlflow", "output": "", **LABEL}


@contextmanager
def serving(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """The ports of a running server, for HTTP and for gRPC if it has that."""
    ports = [free_port() for _ in range(6)]
    port, environment = ports[0], SERVERS
    if name == "mlserver":
        environment = MLSERVER
        subprocess.run([MLSERVER, SCRIPTS / "mlserver_models.py", folder, *map(str, ports)], check=True)
        command, ready = [str(MLSERVER.with_name("mlserver")), "start", str(folder / "live")], "/v2/models/digits/ready"
    elif name == "kserve":
        command = [str(SERVERS), str(SCRIPTS / "kserve_model.py"), "live", f"--http_port={port}"]
        ready = "/v2/models/digits/ready"
    elif name == "litserve":
        command = [str(SERVERS), "-m", "tests.integration.litserve_model", "chat", "live", str(port)]
        ready = "/health"
    elif name == "bentoml":
        settings = ["env", "ARM=live", f"BENTOML_HOME={folder}", "BENTOML_DO_NOT_TRACK=True", str(SERVERS)]
        command = [*settings, "-m", "bentoml", "serve", "tests.integration.bento_model:Digits", "-p", str(port)]
        ready = "/readyz"
    else:
        subprocess.run([SERVERS, SCRIPTS / "mlflow_model.py", "live", folder / "model"], check=True)
        serve = [str(SERVERS), "-m", "mlflow", "models", "serve", "--env-manager", "local", "-h", "127.0.0.1"]
        command, ready = [*serve, "-m", str(folder / "model"), "-p", str(port)], "/ping"
    url = f"http://127.0.0.1:{port}{ready}"
    with server(command, ROOT, url, folder / "log", path=environment.parent):
        yield port, ports[1]


def main() -> None:
    """Record the servers named on the command line, or all."""
    everything: dict[str, tuple[Path, Callable[[int, int], Iterator[dict[str, Any]]]]] = {
        "mlserver": (MLSERVER, mlserver),
        "kserve": (SERVERS, kserve),
        "mlflow": (SERVERS, mlflow),
        "litserve": (SERVERS, litserve),
        "bentoml": (SERVERS, bentoml),
    }
    for name in sys.argv[1:] or everything:
        python, record = everything[name]
        script = f"from importlib.metadata import version; print(version({name!r}))"
        version = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
        with tempfile.TemporaryDirectory() as folder, serving(name, Path(folder)) as ports:
            written = {"server": name, "version": version, "answers": list(record(*ports))}
        (HERE / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n")
        print(f"{name} {version}: {len(written['answers'])} answers")  # noqa: T201 - a script talks to its user


if __name__ == "__main__":
    main()
