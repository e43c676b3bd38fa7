"""Promise: a plan for gRPC says where it listens, and what gRPC cannot do is refused."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.config.words import describe
from tests.config.files import mistakes

GRPC = """
server: {grpc_listen: 127.0.0.1:8081}
admin: {listen: 127.0.0.1:9090}
upstreams: {v1: {url: "grpc://a:1"}, v2: {url: "grpcs://b"}, web: {url: "http://c"}}
routes:
  - name: m
    match: {path: /a.B/C}
    live: v1
    prediction: {protocol: v2, kind: label, ignore: [/id]}
    rollouts: [{candidate: v2, shadow: 100%}]
default: {live: web}
"""


def test_a_plan_for_grpc_says_where_it_listens() -> None:
    config = parse(GRPC)
    assert [config.upstreams[name].grpc for name in ("v1", "v2", "web")] == [True, True, False]
    assert "for gRPC on 127.0.0.1:8081" in describe(config)


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("server: {grpc_listen: 127.0.0.1:8081}", "", "routes[0].live", "there is no gRPC listener"),
        ("live: v1", "live: web", "routes[0].rollouts[0].candidate", "speaks gRPC, and live (web) HTTP"),
        ("candidate: v2", "candidate: web", "routes[0].rollouts[0].candidate", "speaks HTTP, and live (v1) gRPC"),
        ("127.0.0.1:8081", "127.0.0.1:9090", "server.grpc_listen", "is taken"),
        ('"grpcs://b"', '"grpc://b/x?k"', "upstreams.v2.url", "without a query"),
        ('url: "grpcs://b"', 'urls: ["grpc://b", "http://b"]', "upstreams.v2.urls", "grpc and http mixed"),
        ('"grpcs://b"', '"grpcs://b", balance: {hash: {json: /user}}', "upstreams.v2.balance", "is not a supported"),
        ("/a.B/C}", "/a.B/C, methods: [GET]}", "routes[0].match.methods", "is a POST"),
        ("protocol: v2, kind: label", "protocol: openai, kind: text", "routes[0].prediction.protocol", "from gRPC"),
        ("[/id]", "[/ID]", "routes[0].prediction.ignore[0]", "not a field of ModelInferRequest"),
        ("    live: v1", "    live: v1\n    segments: {request_field: /a}", "routes[0].segments.request_field", "JSON"),
        ('"grpcs://b"', '"grpcs://b", set_json: {/a: x}', "upstreams.v2.set_json./a", "no text of a message"),
        ('"grpcs://b"', '"grpcs://b", set_json: {/id: 2}', "upstreams.v2.set_json./id", "must be a text"),
    ],
)  # fmt: skip
def test_what_cannot_be_over_grpc_is_refused(old: str, new: str, path: str, said: str) -> None:
    assert old in GRPC
    found = mistakes(GRPC.replace(old, new))
    assert path in found
    assert said in found[path]


def test_http_and_grpc_routes_do_not_hide_each_other() -> None:
    parse(GRPC.replace("routes:", "routes:\n  - {name: all, live: web}"))
