"""Promise: TLS to models is verified, names whom it calls and can show a certificate; TLS to clients is timed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.request.test_exchange import PLAIN
from tests.worker.rig import PATIENCE, Call, Model, eventually, read_answer, rig

CONFIG = """
server: {listen: '127.0.0.1:0'}
upstreams: {m: {url: 'URL', connect_timeout: 5s, tls: {TLS}}}
routes: [{name: all, live: m}]
"""


class Secure:
    """A model behind TLS, and what its callers said in the handshake."""

    def __init__(self, folder: Path, name: str, client_ca: str = "") -> None:
        self.model = Model()
        self.called: list[str | None] = []
        self.context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        context.sni_callback = lambda _object, called, _context: self.called.append(called)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if client_ca:
            context.load_verify_locations(folder / f"{client_ca}.pem")
            context.verify_mode = ssl.CERT_REQUIRED

    def alpn(self) -> str | None:
        """The protocol agreed upon in the last call."""
        protocol: str | None = self.model.calls[-1].writer.get_extra_info("ssl_object").selected_alpn_protocol()
        return protocol


@asynccontextmanager
async def asked(secure: Secure, tls: str, host: str = "127.0.0.1") -> AsyncIterator[tuple[int, dict[str, str]]]:
    """What a client hears that asks the proxy, which asks the model."""
    server = await asyncio.start_server(secure.model._serve, host, 0, ssl=secure.context)
    url = f"https://{host}:{server.sockets[0].getsockname()[1]}"
    async with rig(CONFIG.replace("URL", url).replace("TLS", tls)) as it:
        status, headers, _ = await it.ask()
        yield status, headers
    await secure.model.stop_tasks()
    server.close()


async def test_a_model_is_called_by_its_name_for_http_1_1(certificates: Path) -> None:
    secure = Secure(certificates, "one")
    async with asked(secure, f"ca: {certificates}/one.pem", "localhost") as (status, _):
        assert (status, secure.called, secure.alpn()) == (200, ["localhost"], "http/1.1")


@pytest.mark.parametrize(
    ("tls", "status"), [("", 502), ("verify: false", 200), ("ca: one.pem", 200), ("ca: ca.pem", 502)]
)
async def test_only_a_certificate_that_is_trusted_will_do(certificates: Path, tls: str, status: int) -> None:
    """The system's authorities by default, those of `ca` else; any only where the owner says so."""
    async with asked(Secure(certificates, "one"), tls.replace("ca: ", f"ca: {certificates}/")) as (got, headers):
        assert got == status
        assert headers.get("x-understudy-error") == (None if status == 200 else "tls")


async def test_a_certificate_for_another_name_will_not_do(certificates: Path) -> None:
    secure = Secure(certificates, "one")
    async with asked(secure, f"ca: {certificates}/one.pem", "127.0.0.2") as (status, headers):
        assert (status, headers["x-understudy-error"]) == (502, "tls")
        assert not secure.model.calls


@pytest.mark.parametrize(("member", "status"), [("member", 200), ("new-member", 502), ("", 502)])
async def test_a_model_that_wants_a_certificate_gets_ours(certificates: Path, member: str, status: int) -> None:
    shown = f", cert: {certificates}/{member}.pem, key: {certificates}/{member}.key" if member else ""
    secure = Secure(certificates, "one", client_ca="ca")
    async with asked(secure, f"ca: {certificates}/one.pem{shown}") as (got, _):
        assert got == status


def behind_tls(folder: Path, header: str = "10s") -> str:
    tls = f"tls: {{cert: {folder}/one.pem, key: {folder}/one.key}}, timeouts: {{header: {header}}}"
    return PLAIN.replace("server: {", f"server: {{{tls}, ")


async def test_a_handshake_that_does_not_go_on_is_ended(certificates: Path) -> None:
    async with rig(behind_tls(certificates, "300ms"), (Model(),)) as it:
        reader, writer = await it.connect()
        writer.write(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()


async def test_old_versions_of_tls_are_not_spoken(certificates: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificates / "one.pem"))
    trust.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        trust.minimum_version, trust.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with rig(behind_tls(certificates), (Model(),)) as it:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", it.port, ssl=trust)


async def test_what_waits_for_its_turn_is_taken_up_behind_tls_too(certificates: Path) -> None:
    """A client's requests, and an answer in tiny chunks whose model has said goodbye in the same moment."""
    secure = Secure(certificates, "one")
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + b"1\r\nx\r\n" * 20_000

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(answer + b"0\r\n\r\n")
        raise ConnectionError  # closes

    secure.model.script = script
    server = await asyncio.start_server(secure.model._serve, "localhost", 0, ssl=secure.context)
    upstream = f"url: 'https://localhost:{server.sockets[0].getsockname()[1]}', tls: {{ca: {certificates}/one.pem}}"
    config = behind_tls(certificates).replace("url: '{0}'", upstream)
    assert upstream in config
    async with rig(config) as it:
        trust = ssl.create_default_context(cafile=str(certificates / "one.pem"))
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port, ssl=trust, server_hostname="localhost")
        writer.write(b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3000 + b"GET /infer HTTP/1.1\r\nHost: a\r\n\r\n")
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += (piece := await asyncio.wait_for(reader.read(1 << 20), PATIENCE))
            assert piece, "broken off"
        writer.close()
    assert got.count(b"HTTP/1.1 200 OK") == 3001
    assert got.count(b"1\r\nx\r\n") == 20_000
    await secure.model.stop_tasks()
    server.close()


async def test_a_long_body_reaches_a_model_behind_tls_in_its_pieces(certificates: Path) -> None:
    secure, body = Secure(certificates, "one"), random.Random(2).randbytes(250_000)
    server = await asyncio.start_server(secure.model._serve, "localhost", 0, ssl=secure.context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with rig(CONFIG.replace("URL", url).replace("TLS", f"ca: {certificates}/one.pem")) as it:
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 250000\r\n\r\n" + body[:100_000])
        await eventually(lambda: it.worker.context.buffered == 100_000)
        writer.write(body[100_000:])
        assert (await read_answer(reader))[0] == 200
        writer.close()
    assert [call.body for call in secure.model.calls] == [body]
    await secure.model.stop_tasks()
    server.close()
