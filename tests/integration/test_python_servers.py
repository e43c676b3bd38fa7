"""Promise: behind understudy, LitServe and BentoML answer as they do directly, pairs are compared with the right
values, and a language model that knows only its own name can be shadow and canary of one with another name.

In the environment that `make test-servers` makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import running
from tests.integration.language import NAMES, Words, questions
from tests.integration.test_servers import (
    ARMS,
    PYTHON,
    Digits,
    ask,
    both,
    client,
    configuration,
    digits,
    disagreement,
    settled,
)
from tests.ports import free_port

__all__ = ["digits"]

pytestmark = pytest.mark.servers

Urls = dict[str, str]


def litserve(what: str, folder: Path) -> Iterator[Urls]:
    ports = {arm: free_port() for arm in ARMS}
    script = [str(PYTHON), "-m", "tests.integration.litserve_model", what]
    with both({arm: [*script, arm, str(ports[arm])] for arm in ARMS}, ports, "/health", folder) as urls:
        yield urls


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    yield from litserve("chat", tmp_path_factory.mktemp("litserve-chat"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    yield from litserve("digits", tmp_path_factory.mktemp("litserve-digits"))


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    folder = tmp_path_factory.mktemp("bento")
    ports = {arm: free_port() for arm in ARMS}
    commands = {}
    for arm in ARMS:
        quiet = ["env", f"ARM={arm}", f"BENTOML_HOME={folder / arm}", "BENTOML_DO_NOT_TRACK=True", str(PYTHON)]
        serve = ["-m", "bentoml", "serve", "tests.integration.bento_model:Digits"]
        commands[arm] = [*quiet, *serve, "--host", "127.0.0.1", "-p", str(ports[arm])]
    with both(commands, ports, "/readyz", folder) as urls:
        yield urls


@pytest.mark.parametrize(("pointer", "kind"), [("/labels", "label"), ("/probabilities", "probabilities")])
async def test_litserve_by_pointer(plain: Urls, digits: Digits, tmp_path: Path, pointer: str, kind: str) -> None:
    await by_pointer(plain, "/predict", digits, tmp_path, pointer, kind)


@pytest.mark.parametrize(("pointer", "kind"), [("/labels", "label"), ("/probabilities", "probabilities")])
async def test_bentoml_by_pointer(bento: Urls, digits: Digits, tmp_path: Path, pointer: str, kind: str) -> None:
    await by_pointer(bento, "/classify", digits, tmp_path, pointer, kind)


async def by_pointer(urls: Urls, path: str, digits: Digits, folder: Path, pointer: str, kind: str) -> None:
    wanted = configuration(urls, path, "max_disagreement", protocol="json", pointer=pointer, kind=kind)
    async with running(folder, wanted) as understudy:
        for row in digits.rows:
            document = {"rows": [row]}
            assert ask(understudy.data_url + path, document) == ask(urls["live"] + path, document)
        assert await settled(understudy, "max_disagreement", len(digits.rows)) == pytest.approx(disagreement(digits))


OPENAI = """
import json, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
said = []
for question in json.load(sys.stdin):
    asked = {"model": "words-1", "messages": [{"role": "user", "content": question}]}
    if STREAM:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        words = [chunk.choices[0].delta.content for chunk in chunks]
        said.append([*words, chunks[-1].choices[0].finish_reason, chunks[-1].usage.completion_tokens])
    else:
        raw = client.chat.completions.with_raw_response.create(**asked)
        choice, usage = raw.parse().choices[0], raw.parse().usage
        by = raw.headers.get("x-served-by")
        said.append([choice.message.content, choice.finish_reason, usage.completion_tokens, by])
print(json.dumps(said))
"""


def renamed(urls: Urls, guard: str, **prediction: str) -> dict[str, Any]:
    wanted = configuration(urls, "/v1/chat/completions", guard, protocol="openai", **prediction)
    mirror = {"max_in_flight": 1000, "max_tokens_per_minute": 10**9}
    wanted["upstreams"]["v2"]["set_json"] = {"/model": NAMES["candidate"]}
    stages = [{"shadow": "100%", "min_pairs": 100_000}, {"canary": "50%"}]
    wanted["routes"][0]["rollouts"][0] |= {"mirror": mirror, "stages": stages}
    return wanted


@pytest.mark.parametrize("stream", [False, True])
async def test_a_candidate_with_another_name_is_shadow(chat: Urls, tmp_path: Path, stream: bool) -> None:
    """Without `set_json` it would answer 404 to every copy. The token budget counts what its own `usage` says."""
    asked = questions()
    script = OPENAI.replace("STREAM", str(stream))
    live, candidate = (Words(arm) for arm in ARMS)
    wanted = renamed(chat, "max_disagreement", kind="text")
    del wanted["routes"][0]["rollouts"][0]["mirror"]["max_tokens_per_minute"]
    async with running(tmp_path, wanted) as understudy:
        through = client(script, understudy.data_url, asked)
        direct = client(script, chat["live"], asked)
        assert [answer[:-1] for answer in through] == [answer[:-1] for answer in direct]
        assert "".join(through[0][:-3] if stream else through[0][:1]) == " ".join(live.says(asked[0]))
        share = sum(live.says(one) != candidate.says(one) for one in asked) / len(asked)
        assert 0 < share < 0.5
        assert await settled(understudy, "max_disagreement", len(asked)) == pytest.approx(share)


async def test_a_candidate_with_another_name_is_canary_within_a_token_budget(chat: Urls, tmp_path: Path) -> None:
    asked = questions()
    models = {"v1": Words("live"), "v2": Words("candidate")}
    script = OPENAI.replace("STREAM", "False")
    async with running(tmp_path, renamed(chat, "max_disagreement", kind="text")) as understudy:
        await understudy.api("/api/v1/rollouts/r/v2/promote", {"reason": "test"})
        await understudy.until("r/v2", lambda rollout: rollout["weight"] == 50)
        served = []
        for _ in range(3):
            answers = client(script, understudy.data_url, asked)
            for question, (said, *_, by) in zip(asked, answers, strict=True):
                assert said == " ".join(models[by].says(question))
                served.append(by)
        assert {"v1", "v2"} == set(served)
        rollout = await understudy.rollout("r/v2")
        assert (rollout["token_budget"]["limit"], sum(rollout["candidate_failures"].values())) == (10**9, 0)
        assert rollout["ledger"]["sampled"] < len(served), "the share starts small"
