"""Promise: a model of embeddings is named by an upstream, and what of that it would not follow is a mistake."""

from __future__ import annotations

import pytest

from proxy.config import parse
from tests.config.files import mistakes

WHOLE = """
upstreams:
  v1: {url: http://127.0.0.1:1}
  v2: {url: http://127.0.0.1:2}
  embedder: {url: http://127.0.0.1:3, headers: {set: {api-key: "0123456789"}}, price: {input: 0.1}}
routes:
  - name: chat
    live: v1
    predictions:
      words: {protocol: openai, output: text, kind: text, similarity: {upstream: embedder, model: small}}
    rollouts: [{candidate: v2, shadow: 100%, guards: {words: {min_similarity: 0.5}}}]
"""
WHERE = "routes[0].predictions.words.similarity"


def test_it_is_asked_at_the_upstreams_url() -> None:
    rule = parse(WHOLE).routes[0].predictions["words"].similarity
    assert rule is not None
    assert (rule.upstream, rule.model, rule.timeout) == ("embedder", "small", 10.0)


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("upstream: embedder", "upstream: embeder", f"{WHERE}.upstream", "did you mean `embedder`?"),
        ("http://127.0.0.1:3", "grpc://127.0.0.1:3", f"{WHERE}.upstream", "embeddings are asked for over HTTP"),
        ("model: small}", "model: small, timeout: 0s}", f"{WHERE}.timeout", "must be more than 0"),
        ("kind: text", "kind: label", WHERE, "compares texts"),
        (
            "url: http://127.0.0.1:3",
            "urls: ['http://127.0.0.1:3', 'http://127.0.0.1:4']",
            f"{WHERE}.upstream",
            "several `urls`",
        ),
        *[
            ("price: {input: 0.1}", f"{key}: {value}", f"{WHERE}.upstream", f"has `{key}`")
            for key, value in {
                "set_json": "{/dimensions: 256}",
                "host": "models.internal",
                "path": "{from: /v1/*, to: /openai/*}",
                "tls": "{verify: false}",
                "balance": "{hash: {header: x-user}}",
                "health": "{path: /health}",
            }.items()
        ],
    ],
)
def test_each_mistake_is_told_where_it_is(old: str, new: str, path: str, said: str) -> None:
    assert old in WHOLE
    found = mistakes(WHOLE.replace(old, new))
    assert said in found.get(path, ""), found
