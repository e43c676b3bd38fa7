"""Replay: recorded requests go to a candidate that nobody has deployed yet, and its answers are judged.

The gate before the gate: what live answered is in the file (or asked anew with `--live`), the candidate answers now,
and the same evidence as in production gives the verdict. Requests are sent at a set rate, whatever the answers take (an
open loop), with a bound on how many are under way.

Without `--live`, live's timings are those of another day on another machine, so they are left out: latency guards that
are relative to live are not judged.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from proxy.aiohttp_client import connector
from proxy.aiohttp_resolver import OwnResolver
from proxy.cli.asking import OfflineJudges, judged_pairs
from proxy.cli.judging import LOOK_EVERY, Bench, Judgement, Verdicts
from proxy.config import Config
from proxy.fields.set_json import Rules, rewritten
from proxy.http.answer_head import LINES, stream_form
from proxy.http.first_piece import FirstPiece
from proxy.http.placement import Placement
from proxy.model import Arm, Outcome, Plan, Reading
from proxy.model.reasons import Reason
from proxy.pairs.recording import Recorded
from proxy.resolver import Resolver

MAX_ANSWER = 64 * 1024 * 1024
NOT_SENT = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
)
"""Headers that belong to the recorded connection, not to the request."""


_AS_RECORDED = Placement(b"", b"", None, (), {})


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """A model server and how it is asked: over which TLS, with which headers (names in lower case) and fields set."""

    url: str
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    set_json: Rules = ()
    host: str = ""
    """The Host that its requests carry, and its name in TLS; the URL's when empty."""
    placement: Placement = _AS_RECORDED
    """How paths are changed for it, and which headers are left out."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Whom to ask, how fast (requests per second), how long to wait (seconds), how many at a time; how many requests at
    most, and what is asked of the judgement so far whether the rest need not be sent any more. `member` holds the value
    in the events of a stream (`http.first_piece`)."""

    candidate: ReplayTarget
    live: ReplayTarget | None = None
    rate: float = 50.0
    timeout: float = 30.0
    in_flight: int = 64
    limit: int | None = None
    enough: Callable[[Judgement], bool] | None = None
    member: bytes = b""


def _hostname(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


async def unreachable(server: ReplayTarget, deadline: float = 5.0) -> str:
    """Why no connection can be made to a server, in words; empty when one can. Asked before anything is sent: a wrong
    address says nothing of a model. `deadline` in seconds."""
    parts = urlsplit(server.url)
    secure = (server.tls or ssl.create_default_context()) if parts.scheme == "https" else None
    port = parts.port or (443 if secure is not None else 80)
    name = None if secure is None else _hostname(server.host) or parts.hostname

    async def attempt(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(address, port, ssl=secure, server_hostname=name)

    try:
        _, writer = await Resolver().connect(parts.hostname or "", attempt, deadline)
    except TimeoutError:
        return f"no connection within {deadline:g} s"
    except ssl.SSLError as error:
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError) or "Errno 111" in str(error)  # of several addresses at once
        return "connection refused" if refused else (error.strerror or str(error))
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


async def replay(
    plan: Plan,
    pairs: Iterable[Recorded],
    terms: Terms,
    sent: Callable[[], None] = lambda: None,
    judges: OfflineJudges | None = None,
) -> Judgement:
    """Send every recorded request and judge the answers in request order; `sent` is called after each. `judges` are
    asked about the pairs that are drawn for them.

    A request whose body was redacted as a whole is left out: what it would be answered empty says nothing.
    """
    bench, held = Bench(plan), list[Verdicts]()
    async with aiohttp.ClientSession(
        connector=connector(limit=0, resolver=OwnResolver()),
        timeout=aiohttp.ClientTimeout(total=terms.timeout),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),  # one request's answer must not change the next request
        skip_auto_headers={"user-agent", "accept", "accept-encoding", "content-type"},
    ) as session:
        whole = islice((recorded for recorded in pairs if not recorded.bodyless), terms.limit)
        async with aclosing(_read(bench, _answered(session, whole, terms), judges)) as answered:
            async for recorded, reading, verdicts in answered:
                if judges is not None:
                    held.append(verdicts)
                    await judges.let_go(bench, held)
                bench.add(recorded, reading)
                sent()
                if terms.enough is not None and _decided(bench, terms.enough):
                    break
    if judges is not None:
        await judges.let_go(bench, held, last=True)
    return bench.judgement()


async def replay_with(
    config: Config, plan: Plan, pairs: Iterable[Recorded], terms: Terms, sent: Callable[[int], None], path: Path
) -> tuple[Judgement, list[dict[str, Any]]]:
    """The same with the judges of the plan, whose verdicts are kept at `path`, and what each of them was asked; `sent`
    is called with 1 after each request."""
    judges = OfflineJudges(config, plan, path)
    try:
        asked = judges if judges.askers else None
        return await replay(plan, pairs, terms, lambda: sent(1), asked), judges.summary
    finally:
        await judges.close()


async def _read(
    bench: Bench, answered: AsyncGenerator[Recorded, None], judges: OfflineJudges | None
) -> AsyncGenerator[tuple[Recorded, Reading, Verdicts], None]:
    """Answered pairs with their readings, and with what judges say of them."""

    async def readings() -> AsyncGenerator[tuple[Recorded, Reading], None]:
        async for recorded in answered:
            yield recorded, bench.read(recorded)

    async with aclosing(answered), aclosing(readings()) as read:
        if judges is None:
            async for recorded, reading in read:
                yield recorded, reading, Verdicts()
            return
        async with aclosing(judged_pairs(judges, read)) as judged:
            async for one in judged:
                yield one


def _decided(bench: Bench, enough: Callable[[Judgement], bool]) -> bool:
    """Whether the rest need not be sent. Asked whenever the bench has looked, which evidence of this kind allows."""
    return bool(bench.tripped_at) or (bench.pairs % LOOK_EVERY == 0 and enough(bench.judgement()))


async def _answered(
    session: aiohttp.ClientSession, pairs: Iterable[Recorded], terms: Terms
) -> AsyncGenerator[Recorded, None]:
    """Answered pairs in request order; at most `in_flight` are under way or wait for an earlier one."""
    async with _queue(terms.in_flight) as waiting:
        due = time.monotonic()
        for number, recorded in enumerate(pairs):
            if len(waiting) >= terms.in_flight:
                yield await waiting.pop(0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0) + 1.0 / terms.rate  # at most a second of arrears is made good
            waiting.append(asyncio.create_task(_ask_both(session, recorded, terms, number)))
            while waiting and waiting[0].done():
                yield await waiting.pop(0)
        while waiting:
            yield await waiting.pop(0)


@asynccontextmanager
async def _queue(size: int) -> AsyncIterator[list[asyncio.Task[Recorded]]]:
    waiting: list[asyncio.Task[Recorded]] = []
    try:
        yield waiting
    finally:
        for task in waiting:
            task.cancel()


async def _ask_both(session: aiohttp.ClientSession, recorded: Recorded, terms: Terms, number: int) -> Recorded:
    pair = recorded.pair
    if terms.live is None:
        live = pair.live._replace(seconds=math.nan, first=math.nan)
    else:
        live = await _ask(session, terms.live, recorded, terms.member)
    candidate = await _ask(session, terms.candidate, recorded, terms.member)
    pair = pair._replace(
        stage=0,
        worker="replay",
        sequence=number,
        served=Arm.LIVE,
        live=live,
        candidate=candidate,
        again=None,
        hedged=False,
        fell_back=False,
        latency_slot=True,
    )
    return Recorded(pair, recorded.request_hash)


async def _ask(
    session: aiohttp.ClientSession, server: ReplayTarget, recorded: Recorded, member: bytes = b""
) -> Outcome:
    """One exchange; a failure is an outcome."""
    pair = recorded.pair
    asked = (pair.request_head, pair.request_body)
    request = rewritten(*asked, server.set_json) if server.set_json else asked
    if request is None:
        return Outcome(0, Reason.NOT_REWRITTEN)
    head = server.placement.apply(request[0].rstrip(b"\r\n") + b"\r\n\r\n").decode("latin-1").split("\r\n")
    method, path, *_ = head[0].split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:]) if name]
    kept = [(name, value) for name, value in headers if name.lower() not in NOT_SENT | server.headers.keys()]
    target, context = server.url.rstrip("/") + path, server.tls or True
    name = _hostname(server.host) if target.startswith("https:") else ""
    own = [("host", server.host)] if server.host else []
    began = time.perf_counter()
    try:
        async with session.request(
            method,
            target,
            headers=[*own, *kept, *server.headers.items()],
            data=request[1],
            allow_redirects=False,
            ssl=context,
            server_hostname=name or None,
        ) as answer:
            return await _taken(answer, began, member)
    except TimeoutError:
        return Outcome(0, Reason.TIMEOUT)
    except aiohttp.ClientSSLError:
        return Outcome(0, Reason.TLS)
    except aiohttp.ClientConnectorError:
        return Outcome(0, Reason.CONNECT)
    except aiohttp.ClientResponseError:
        return Outcome(0, Reason.BAD_REPLY)
    except (aiohttp.ClientError, OSError):
        return Outcome(0, Reason.DISCONNECT)


async def _taken(answer: aiohttp.ClientResponse, began: float, member: bytes) -> Outcome:
    """The answer, timed as a worker times it: of a stream the first piece is the first event that brings something."""
    first, body = time.perf_counter() - began, b""
    form = stream_form(answer.content_type.encode(), answer.content_length is not None)
    listener = (
        FirstPiece(lines=form == LINES, key=member) if form and not answer.headers.get("content-encoding") else None
    )
    while chunk := await answer.content.readany():
        if listener is not None:
            first = time.perf_counter() - began
            listener = None if listener.found(chunk) else listener
        body += chunk
        if len(body) > MAX_ANSWER:
            return Outcome(answer.status, Reason.TOO_LARGE)
    lines = [f"HTTP/1.1 {answer.status} {answer.reason or ''}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    seconds = time.perf_counter() - began
    first = first if listener is None else seconds  # nothing was said: that is no quick answer
    return Outcome(answer.status, Reason.NONE, _latin("\r\n".join([*lines, "", ""])), body, seconds, first)


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")
