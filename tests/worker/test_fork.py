"""Promise: `match.json` sends a request where the fields of its body say, in the order of the file; what cannot be read
goes to the default; nothing is lost on the way, however the body comes."""

from __future__ import annotations

import gzip

import pytest

from tests.config.files import mistakes
from tests.request.test_rewriting import chunked, send_in_pieces
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Model, Rig, always, eventually, ok, parsed, rig

CONFIG = """
server: {listen: '127.0.0.1:0', limits: {buffer: 1KiB}}
upstreams: {a: {url: '{0}'}, b: {url: '{1}'}, c: {url: '{2}'}}
routes:
  - {name: a, match: {path: /chat, json: {/model: llama}}, live: a}
  - {name: b, match: {path: /chat, json: {/model: qwen, /n: 1}DEFAULT}, live: b}
  OTHER
"""
OTHER = "- {name: c, match: {path: /chat}, live: c}"
LONG = b'{"x": "' + b"y" * 1_100_000 + b'", "model": "llama"}'


def models() -> list[Model]:
    return [Model(always(ok(name))) for name in (b"a", b"b", b"c")]


async def asked(it: Rig, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    head = b"POST /chat HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n" % (len(body), lines)
    status, _, answer = parsed(await it.raw(head + body))
    return answer if status == 200 else b"%d" % status


@pytest.mark.parametrize(
    ("default", "other", "left"), [("", OTHER, b"c"), (", default: true", OTHER, b"b"), ("", "", b"404")]
)
async def test_who_has_which(default: str, other: str, left: bytes) -> None:
    async with rig(CONFIG.replace("DEFAULT", default).replace("OTHER", other), models()) as it:
        for body, owner in (
            (b'{"model": "llama"}', b"a"),
            (b'{"model": "qwen", "n": 1}', b"b"),
            (b'{"model": "qwen", "n": 1.0}', b"b"),
            (b'{"model": "qwen", "model": "llama"}', b"a"),
            (b'{"model": "qwen", "n": true}', left),
            (b'{"model": "qwen"}', left),
            (b'{"model": ["llama"]}', left),
            (b'["llama"]', left),
            (b'{"model": "llama"', left),
            (b"model=llama", left),
            (b"", left),
            (LONG, left),
        ):
            assert await asked(it, body) == owner, body[:40]
        assert await asked(it, gzip.compress(b'{"model": "llama"}'), b"Content-Encoding: gzip") == left
        assert await asked(it, b'{"model": "llama"}', b"Content-Encoding: identity") == b"a"


async def test_however_the_body_comes() -> None:
    served = models()
    async with rig(CONFIG.replace("DEFAULT", "").replace("OTHER", OTHER), served) as it:
        body = b'{"x": "' + b"y" * 5_000 + b'", "model": "llama"}'
        assert await send_in_pieces(it, body, path=b"/chat") == b"a"
        assert await send_in_pieces(it, body, b"Expect: 100-continue", path=b"/chat") == b"a"
        assert await send_in_pieces(it, LONG, path=b"/chat") == b"c"
        head = b"POST /chat HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(head + chunked(body)))[2] == b"a"
        assert [call.body for call in served[0].calls[:2]] == [body, body]
        assert served[2].calls[0].body == LONG
        assert it.worker.context.buffered == 0


async def test_a_route_that_the_body_chose_is_whole() -> None:
    """Its candidate serves, its pairs are made, its override is asked."""
    config = (
        CONFIG.replace("DEFAULT", "")
        .replace("OTHER", OTHER)
        .replace(
            "json: {/model: llama}}, live: a", "json: {/model: llama}}, live: a, override: {header: x-arm}, ROLLOUT"
        )
    )
    served = models()
    async with rig(config.replace("ROLLOUT", "rollouts: [{candidate: c, shadow: 100%}]"), served) as it:
        await it.lane(9_999)
        assert await asked(it, b'{"model": "llama"}') == b"c"
        assert await asked(it, b'{"model": "llama"}', b"X-Arm: live") == b"a"
        assert await asked(it, b'{"model": "llama"}', b"X-Arm: nobody") == b"403"
        assert await asked(it, b'{"model": "qwen", "n": 1}', b"X-Arm: nobody") == b"b"
        assert await asked(it, b'{"model": "llama"}') == b"c"
        await it.settled()


async def test_a_body_is_routed_and_changed_by_one_reading() -> None:
    """By its fields alone, or as JSON: never by one and by the other."""
    served = models()
    config = CONFIG.replace("DEFAULT", "").replace("OTHER", OTHER)
    data = b"[%b]" % b",".join([b"0.5"] * 200)
    async with rig(config.replace("url: '{0}'", "url: '{0}', set_json: {/user: x}"), served) as it:
        for begins, owner, change in (
            (b'{"model":"llama","user":"u","n":1', b"a", (b'"u"', b'"x"')),
            (b'{"model":"llama","user":"u","n":NaN', b"a", (b'"u"', b'"x"')),
            (b'{"model":"llama","n":NaN', b"a", (b"]}", b'],"user":"x"}')),
            (b'{"model":"llama","us\\u0065r":"u","n":1', b"a", (b'"u"', b'"x"')),
            (b'{"model":"llama","us\\u0065r":"u","n":NaN', b"c", (b"", b"")),
            (b'{"user":"model","model":"llama","model":"gpt","n":NaN', b"c", (b"", b"")),
        ):
            body = b'%b,"data":%b}' % (begins, data)
            assert await asked(it, body) == owner, begins
            assert served[b"abc".index(owner)].calls[-1].body == body.replace(*change), begins


async def test_a_client_that_leaves_meanwhile_leaves_nothing_behind() -> None:
    async with rig(CONFIG.replace("DEFAULT", "").replace("OTHER", ""), models()) as it:
        _, writer = await it.connect()
        writer.write(b"POST /chat HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        await it.raw(b"GET /-/healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        writer.close()
        await eventually(lambda: it.worker.context.buffered == 0)


async def test_grpc_reads_the_first_message() -> None:
    def script(name: bytes):  # type: ignore[no-untyped-def]
        def answer(call, messages):  # type: ignore[no-untyped-def]
            for _ in messages:
                yield name

        return answer

    config = """
server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}
upstreams: {a: {url: '{0}'}, b: {url: '{1}'}}
routes:
  - {name: a, match: {json: {/model_name: llama}}, live: a}
  - {name: b, live: b}
"""
    async with rig(config, [GrpcModel(script(b"a")), GrpcModel(script(b"b"))], grpc=True) as it:
        with Client(it.grpc_port) as client:
            method = "/inference.GRPCInferenceService/ModelInfer"
            for message, owner in ((b"\x0a\x05llama", b"a"), (b"\x0a\x04qwen", b"b"), (b"", b"b")):
                assert (await client.ask(message, method=method)).answers == [owner]
            assert (await client.ask(b"\x0a\x05llama", method="/a.B/C")).answers == [b"b"]


@pytest.mark.parametrize(
    ("routes", "path", "said"),
    [
        ("- {match: {path: /a, json: {/m: x}}} - {match: {path: /a, json: {/m: x, /n: 1}}}", "routes[1]", "never"),
        ("- {match: {path: /a}} - {match: {path: /a, json: {/m: x}}}", "routes[1]", "never reached"),
        ("- {match: {path: /a, default: true}}", "routes[0].match.default", "no meaning without `json`"),
        (
            "- {match: {json: {/m: x}, default: true}} - {match: {json: {/m: y}, default: true}}",
            "routes[1].match.default", "routes[0] is the default",
        ),
        ("- {match: {json: {'': x}}}", "routes[0].match.json.", "is the whole body"),
        ("- {match: {json: {m: x}}}", "routes[0].match.json.m", "did you mean `/m`?"),
        ("- {match: {json: {/m: [x]}}}", "routes[0].match.json./m", "found a list"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_cannot_be_is_refused(routes: str, path: str, said: str) -> None:
    listed = [part.strip(" -") for part in routes.split(" - ")]
    text = "upstreams: {m: {url: 'http://a'}}\nroutes:\n"
    text += "".join(f"  - {{name: r{n}, live: m, {part.strip()[1:]}\n" for n, part in enumerate(listed))
    found = {key: value for key, value in mistakes(text).items() if key.startswith(path)}
    assert any(said in value for value in found.values()), mistakes(text)
