"""Promise: TLS towards clients and models is as configured, and new certificates and authorities on a reload cost no
connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from tests.request.test_exchange import PLAIN
from tests.worker.configs import config_frame
from tests.worker.rig import PATIENCE, Model, eventually, rig

ASK = b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


async def fetch(port: int, context: ssl.SSLContext) -> tuple[bytes, str, str | None]:
    """An answer over TLS, the server's certificate name, and the ALPN protocol."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    tls = writer.get_extra_info("ssl_object")
    writer.write(ASK.replace(b"Content", b"Connection: close\r\nContent"))
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    name = dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"]
    writer.close()
    return answer, name, tls.selected_alpn_protocol()


async def test_tls_and_a_new_certificate_on_reload(certificates: Path) -> None:
    model = Model()
    config = PLAIN.replace(
        "server: {", f"server: {{tls: {{cert: {certificates}/now.pem, key: {certificates}/now.key}}, "
    )
    for end in ("pem", "key"):
        (certificates / f"now.{end}").write_bytes((certificates / f"one.{end}").read_bytes())
    async with rig(config, (model,)) as it:
        trust = ssl.create_default_context(cafile=str(certificates / "one.pem"))
        trust.load_verify_locations(str(certificates / "two.pem"))
        trust.set_alpn_protocols(["h2", "http/1.1"])
        answer, name, alpn = await fetch(it.port, trust)
        assert (answer[:15], name, alpn) == (b"HTTP/1.1 200 OK", "one", "http/1.1")
        assert model.calls[0].headers["x-forwarded-proto"] == "https"
        for end in ("pem", "key"):
            (certificates / f"now.{end}").write_bytes((certificates / f"two.{end}").read_bytes())
        text = config.replace("{0}", model.url)
        it.control.send(config_frame(2, text))
        await eventually(lambda: len(it.replies) == 2)
        assert (await fetch(it.port, trust))[1] == "two"


async def test_client_certificates(certificates: Path) -> None:
    tls = f"cert: {certificates}/one.pem, key: {certificates}/one.key, client_ca: {certificates}/ca.pem"
    async with rig(PLAIN.replace("server: {", f"server: {{tls: {{{tls}}}, "), (Model(),)) as it:
        trust = ssl.create_default_context(cafile=str(certificates / "one.pem"))
        try:
            answer, _, _ = await fetch(it.port, trust)
        except (ssl.SSLError, ConnectionError):
            answer = b""  # with TLS 1.3 the refusal may also be an end without an answer
        assert answer == b""
        trust.load_cert_chain(certificates / "member.pem", certificates / "member.key")
        assert (await fetch(it.port, trust))[0].startswith(b"HTTP/1.1 200")


async def test_another_client_ca_on_reload(certificates: Path) -> None:
    """The old authority is not trusted any more, not even by way of a session that it opened; who is here may stay."""
    model = Model()

    def config(client_ca: str) -> str:
        tls = f"cert: {certificates}/one.pem, key: {certificates}/one.key{client_ca}"
        return PLAIN.replace("server: {", f"server: {{tls: {{{tls}}}, ")

    def trust(member: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(certificates / "one.pem"))
        context.load_cert_chain(certificates / f"{member}.pem", certificates / f"{member}.key")
        return context

    async def answer(context: ssl.SSLContext) -> bytes:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            return (await fetch(it.port, context))[0][:12]
        return b""

    async def reload(generation: int, client_ca: str) -> None:
        text = config(client_ca).replace("{0}", model.url)
        it.control.send(config_frame(generation, text))
        await eventually(lambda: len(it.replies) == generation)

    old, new = trust("member"), trust("new-member")
    async with rig(config(f", client_ca: {certificates}/ca.pem"), (model,)) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port, ssl=old)
        assert (await answer(old), await answer(new)) == (b"HTTP/1.1 200", b"")
        await reload(2, f", client_ca: {certificates}/new-ca.pem")
        assert (await answer(old), await answer(new)) == (b"", b"HTTP/1.1 200")
        writer.write(ASK)
        assert (await reader.readexactly(12)) == b"HTTP/1.1 200"
        writer.close()
        await reload(3, "")
        assert await answer(ssl.create_default_context(cafile=str(certificates / "one.pem"))) == b"HTTP/1.1 200"


@pytest.mark.parametrize(("ca", "status"), [("one", 200), ("two", 502)])
async def test_tls_to_models_is_verified(certificates: Path, ca: str, status: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "one.pem", certificates / "one.key")
    model = Model()
    server = await asyncio.start_server(model._serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = f"""
server: {{listen: '127.0.0.1:0'}}
upstreams: {{m: {{url: '{url}', tls: {{ca: {certificates}/{ca}.pem}}}}}}
routes: [{{name: all, live: m}}]
"""
    async with rig(config) as it:
        got, headers, _ = await it.ask()
        assert got == status
        assert headers.get("x-understudy-error") == (None if status == 200 else "tls")
    await model.stop_tasks()
    server.close()
