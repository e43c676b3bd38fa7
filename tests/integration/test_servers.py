"""Promise: behind understudy, real servers answer real clients as they do directly, and pairs are compared.

KServe's model server (V1, and V2 with binary tensors through tritonclient), `mlflow models serve`, and the `openai`
client against a small server of our own, in the environment that `make test-servers` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.harness import Understudy, running
from tests.integration.chat_server import words
from tests.integration.servers import server
from tests.ports import free_port

pytestmark = pytest.mark.servers

PYTHON = Path(os.environ.get("SERVERS_VENV", ".venv-servers")).absolute() / "bin" / "python"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ARMS = ("live", "candidate")


class Digits(NamedTuple):
    """Rows that no model has seen, and what each arm's model says of them."""

    rows: list[list[float]]
    live: list[int]
    candidate: list[int]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """The models of `kserve_model.py` and `mlflow_model.py`, trained here once more."""
    from sklearn.datasets import load_digits  # here: every process of every run collects this file
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    pixels, labels = load_digits(return_X_y=True)
    half, few = len(pixels) // 2, 60
    unseen = pixels[half : half + few] / 16
    models = (LogisticRegression(max_iter=2000), KNeighborsClassifier(1))
    said = [model.fit(pixels[:half] / 16, labels[:half]).predict(unseen).tolist() for model in models]
    return Digits(unseen.tolist(), *said)


@contextmanager
def both(commands: dict[str, list[str]], ports: dict[str, int], ready: str, folder: Path) -> Iterator[dict[str, str]]:
    """Both arms' servers; gives their URLs."""
    urls = {arm: f"http://127.0.0.1:{ports[arm]}" for arm in ARMS}
    with ExitStack() as running_servers:
        for arm in ARMS:
            one = server(commands[arm], ROOT, urls[arm] + ready, folder / f"{arm}.log", path=PYTHON.parent)
            running_servers.enter_context(one)
        yield urls


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    ports = {arm: free_port() for arm in ARMS}
    script = str(HERE / "kserve_model.py")
    commands = {arm: [str(PYTHON), script, arm, f"--http_port={ports[arm]}"] for arm in ARMS}
    with both(commands, ports, "/v2/models/digits/ready", tmp_path_factory.mktemp("kserve")) as urls:
        yield urls


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("mlflow")
    ports = {arm: free_port() for arm in ARMS}
    commands = {}
    for arm in ARMS:
        model = str(folder / arm)
        subprocess.run([PYTHON, HERE / "mlflow_model.py", arm, model], check=True, timeout=180, capture_output=True)
        serve = [str(PYTHON), "-m", "mlflow", "models", "serve", "--env-manager", "local", "-h", "127.0.0.1"]
        commands[arm] = [*serve, "-m", model, "-p", str(ports[arm])]
    with both(commands, ports, "/ping", folder) as urls:
        yield urls


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    ports = {arm: free_port() for arm in ARMS}
    commands = {arm: [sys.executable, "-m", "tests.integration.chat_server", arm, str(ports[arm])] for arm in ARMS}
    with both(commands, ports, "/health", tmp_path_factory.mktemp("chat")) as urls:
        yield urls


def configuration(urls: dict[str, str], path: str, guard: str, **prediction: str) -> dict[str, Any]:
    rollout = {
        "candidate": "v2",
        "stages": [{"shadow": "100%", "min_pairs": 100_000}],
        "mirror": {"max_in_flight": 1000},
        "guards": {guard: "50%", "max_extra_errors": "5%"},
    }
    route = {"name": "r", "match": {"path": path}, "live": "v1", "prediction": prediction, "rollouts": [rollout]}
    return {"upstreams": {"v1": {"url": urls["live"]}, "v2": {"url": urls["candidate"]}}, "routes": [route]}


async def settled(understudy: Understudy, guard: str, pairs: int) -> float:
    """The value of a guard once a look has been taken at that many pairs, none of which failed."""

    def find(rollout: dict[str, Any]) -> dict[str, Any]:
        return next(found for found in rollout["findings"] if found["guard"] == guard and found["segment"] is None)

    def looked(rollout: dict[str, Any]) -> bool:
        return bool(rollout["findings"]) and find(rollout)["pairs"] >= pairs

    rollout = await understudy.until("r/v2", looked, 60)
    ledger = rollout["ledger"]
    assert (ledger["compared"], ledger["unparseable"], ledger["live_failed"]) == (pairs, 0, 0)
    assert sum(rollout["candidate_failures"].values()) == 0
    return float(find(rollout)["value"])


def ask(url: str, document: Any) -> tuple[int, str, bytes]:
    """Status, content type and body of one answer."""
    wanted = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(wanted, timeout=30) as answer:
        return answer.status, answer.headers["content-type"], answer.read()


def client(script: str, url: str, given: Any) -> Any:
    """What a client library in the servers' environment prints as JSON."""
    done = subprocess.run(
        [PYTHON, "-c", script, url], input=json.dumps(given), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def disagreement(digits: Digits) -> float:
    share = sum(a != b for a, b in zip(digits.live, digits.candidate, strict=True)) / len(digits.rows)
    assert 0 < share < 0.3
    return share


@pytest.mark.parametrize(
    ("server", "protocol", "path", "key"),
    [("kserve", "kserve-v1", "/v1/models/digits:predict", "instances"), ("mlflow", "mlflow", "/invocations", "inputs")],
)
async def test_labels(
    server: str, protocol: str, path: str, key: str, digits: Digits, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    urls = request.getfixturevalue(server)
    wanted = configuration(urls, path, "max_disagreement", protocol=protocol, kind="label")
    async with running(tmp_path, wanted) as understudy:
        for row in digits.rows:
            document = {key: [row]}
            assert ask(understudy.data_url + path, document) == ask(urls["live"] + path, document)
        assert await settled(understudy, "max_disagreement", len(digits.rows)) == pytest.approx(disagreement(digits))


TRITON = """
import json, sys
import numpy
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
client = InferenceServerClient(sys.argv[1].removeprefix("http://"))
answers = []
for number, row in enumerate(json.load(sys.stdin)):
    tensor = InferInput("x", [1, len(row)], "FP32")
    tensor.set_data_from_numpy(numpy.array([row], numpy.float32))  # binary, which is the default
    wanted = [InferRequestedOutput(name) for name in ("predict", "predict_proba", "name")]
    result = client.infer("digits", [tensor], outputs=wanted, request_id=str(number))
    sizes = [output["parameters"]["binary_data_size"] for output in result.get_response()["outputs"]]
    values = [result.as_numpy("predict").tolist(), result.as_numpy("predict_proba").tolist()]
    answers.append([sizes, *values, [name.decode() for name in result.as_numpy("name")]])
print(json.dumps(answers))
"""


@pytest.mark.parametrize(
    ("output", "kind"), [("predict", "label"), ("name", "label"), ("predict_proba", "probabilities")]
)
async def test_kserve_v2_with_binary_tensors_through_tritonclient(
    kserve: dict[str, str], digits: Digits, tmp_path: Path, output: str, kind: str
) -> None:
    path = "/v2/models/digits/infer"
    async with running(
        tmp_path, configuration(kserve, path, "max_disagreement", protocol="v2", output=output, kind=kind)
    ) as understudy:
        through = client(TRITON, understudy.data_url, digits.rows)
        assert through == client(TRITON, kserve["live"], digits.rows)
        assert [answer[1][0] for answer in through] == digits.live
        assert through[0][0] == [8, 40, 11]  # one INT64, ten FP32, a length and "digit N": they were binary
        # The best class of the probabilities is the label, so all three outputs disagree equally often.
        assert await settled(understudy, "max_disagreement", len(digits.rows)) == pytest.approx(disagreement(digits))


OPENAI = """
import json, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
said = []
for number in range(40):
    messages = [{"role": "user", "content": f"question {number}"}]
    if STREAM:
        chunks = list(client.chat.completions.create(model="tiny", messages=messages, stream=True))
        said.append([chunk.choices[0].delta.content for chunk in chunks] + [chunks[-1].choices[0].finish_reason])
    else:
        answer = client.chat.completions.create(model="tiny", messages=messages)
        choice = answer.choices[0]
        said.append([choice.message.content, choice.finish_reason, answer.usage.completion_tokens])
print(json.dumps(said))
"""


@pytest.mark.parametrize("stream", [False, True])
async def test_the_openai_client(chat: dict[str, str], tmp_path: Path, stream: bool) -> None:
    script = OPENAI.replace("STREAM", str(stream))
    wanted = configuration(chat, "/v1/chat/completions", "max_disagreement", protocol="openai", kind="text")
    async with running(tmp_path, wanted) as understudy:
        through = client(script, understudy.data_url, None)
        assert through == client(script, chat["live"], None)
        questions = [f"question {number}" for number in range(40)]
        share = sum(words(asked, "live") != words(asked, "candidate") for asked in questions) / len(questions)
        assert 0 < share < 0.5
        assert await settled(understudy, "max_disagreement", len(questions)) == pytest.approx(share)
