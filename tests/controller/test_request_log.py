"""Promise: a real OpenTelemetry receiver reads the spans as they were meant, the access log has a line for each request
that was chosen, and a collector or disk that is slow, gone or full costs entries by count and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from proxy.config import Config, parse
from proxy.controller import request_log as request_log_module
from proxy.controller.request_log import RequestLogExporter, Sink
from proxy.pairs.request_log import LegEntry, RequestEntry, example
from tests.controller.controllers import eventually

PLAIN = "upstreams: {a: {url: 'http://127.0.0.1:1'}}\ndefault: {live: a}\n"
TRACE, REQUEST, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "b7ad6b7169203331"
LEGS = (
    LegEntry("served", "candidate", "credit-v2", "credit/credit-v2", 100.5, 0.25, 0.2, 503, "", "1" * 16),
    LegEntry("hedge", "live", "credit-v1", "", 100.75, 0.5, 0.4, 200, "", "2" * 16),
    LegEntry("copy", "candidate", "credit-v3", "credit/credit-v3", 101.5, 2.0, None, 0, "timeout", "3" * 16),
)
TRACED = example(start=100.0, seconds=1.25, trace=TRACE, span=REQUEST, parent=PARENT, fell_back=True, legs=LEGS)


def config(more: str, **secrets: str) -> Config:
    return parse(PLAIN + more, environ=secrets)


class Collector:
    """An OTLP receiver over HTTP that decodes what it gets with the official messages."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        self.headers = dict(request.headers)
        if self.status == 200:
            self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(status=self.status)

    @property
    def spans(self) -> list[Span]:
        return [s for r in self.requests for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    application = web.Application()
    application.router.add_post("/base/v1/traces", found.take)
    async with TestServer(application) as server:
        found.url = str(server.make_url("/base"))
        yield found


@asynccontextmanager
async def running(more: str, **secrets: str) -> AsyncIterator[RequestLogExporter]:
    sinks = RequestLogExporter()
    await asyncio.to_thread(sinks.configure, config(more, **secrets))
    try:
        yield sinks
    finally:
        await asyncio.to_thread(sinks.close)


def attributes(span: Span) -> dict[str, Any]:
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        assert kind is not None
        found[one.key] = getattr(one.value, kind)
    return found


# --- traces ----------------------------------------------------------------------------------------------------------


async def test_a_receiver_reads_the_request_its_legs_and_the_link(collector: Collector) -> None:
    tracing = f"tracing: {{otlp: '{collector.url}/', service_name: shop, headers: {{x-api-key: '${{KEY}}'}}}}"
    async with running(tracing, KEY="sesame") as sinks:
        sinks.take([TRACED])
        await eventually(lambda: len(collector.spans) == 4)
        request, *legs = collector.spans
        resource = collector.requests[0].resource_spans[0].resource
        assert {a.key: a.value.string_value for a in resource.attributes}["service.name"] == "shop"
        assert collector.headers["x-api-key"] == "sesame"
        assert (request.name, request.kind) == ("POST credit", Span.SPAN_KIND_SERVER)
        assert [span.trace_id.hex() for span in collector.spans] == [TRACE] * 4
        assert (request.span_id.hex(), request.parent_span_id.hex()) == (REQUEST, PARENT)
        assert (request.start_time_unix_nano, request.end_time_unix_nano) == (100_000_000_000, 101_250_000_000)
        said = attributes(request)
        assert said["http.request.method"] == "POST"
        assert said["http.response.status_code"] == 200
        assert (said["understudy.fell_back"], said["understudy.served_by"]) == (True, "credit-v1")
        assert "error.type" not in said
        assert [(leg.name, leg.span_id.hex(), leg.kind) for leg in legs] == [
            ("served credit-v2", "1" * 16, Span.SPAN_KIND_CLIENT),
            ("hedge credit-v1", "2" * 16, Span.SPAN_KIND_CLIENT),
            ("copy credit-v3", "3" * 16, Span.SPAN_KIND_CLIENT),
        ]
        assert {leg.parent_span_id.hex() for leg in legs} == {REQUEST}
        assert [[link.span_id.hex() for link in leg.links] for leg in legs] == [[], [], ["2" * 16]]
        assert [leg.status.code for leg in legs] == [
            Status.STATUS_CODE_ERROR,
            Status.STATUS_CODE_UNSET,
            Status.STATUS_CODE_ERROR,
        ]
        assert attributes(legs[2])["error.type"] == "timeout"
        assert "http.response.status_code" not in attributes(legs[2])
        await eventually(lambda: sinks.counts["traces", "written"] == 1)


async def test_a_trace_that_begins_here_has_no_parent(collector: Collector) -> None:
    async with running(f"tracing: {{otlp: '{collector.url}'}}") as sinks:
        sinks.take([TRACED._replace(parent=""), example(logged=True)])  # the second is not for traces
        await eventually(lambda: sinks.counts["traces", "written"] == 1)  # counted when the receiver has answered
        assert collector.spans[0].parent_span_id == b""
        assert sinks.counts == {("traces", r): int(r == "written") for r in ("written", "failed", "dropped")}


async def test_a_collector_that_refuses_costs_trails_and_one_line(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    with caplog.at_level(logging.INFO):
        async with running(f"tracing: {{otlp: '{collector.url}'}}") as sinks:
            for failed in (1, 2):
                sinks.take([TRACED])
                await eventually(lambda n=failed: sinks.counts["traces", "failed"] == n)
            collector.status = 200
            sinks.take([TRACED])
            await eventually(lambda: sinks.counts["traces", "written"] == 1)
    said = [record.getMessage() for record in caplog.records if record.name == "understudy.request_log"]
    assert said == ["traces.failed", "traces.recovered"]


async def test_the_key_for_the_collector_is_nowhere_to_be_read() -> None:
    found = config("tracing: {otlp: 'http://127.0.0.1:4318', headers: {authorization: '${KEY}'}}", KEY="sesame")
    assert "sesame" not in repr(found)
    assert "sesame" not in found.model_dump_json()


# --- the access log --------------------------------------------------------------------------------------------------


async def test_the_access_log_has_a_line_for_each_request_that_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "access.jsonl"
    async with running(f"log: {{access: {{share: 100%, path: {path}}}}}") as sinks:
        sinks.take([TRACED, TRACED._replace(logged=False), example(id='a"\n', status=504, reason="timeout")])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["trace_id"] == TRACE
    assert [leg["upstream"] for leg in first["legs"]] == ["credit-v2", "credit-v1", "credit-v3"]
    assert (second["id"], second["status"], second["reason"], second["trace_id"]) == ('a"\n', 504, "timeout", None)
    assert second["time"] == "1970-01-01T00:00:00.000Z"
    assert sinks.counts["access_log", "written"] == 2


async def test_it_rotates(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    rule = f"log: {{access: {{path: {path}, max_size: 300B, files: 2}}}}"
    async with running(rule) as sinks:
        for n in range(4):
            sinks.take([example(id=str(n))])
            await eventually(lambda n=n: sinks.counts["access_log", "written"] == n + 1)
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}  # noqa: ASYNC240 - the loop has nothing else
    assert "access.jsonl.1" in sizes
    assert sizes.keys() <= {"access.jsonl", "access.jsonl.1"}
    assert all(size < 1000 for size in sizes.values())


async def test_without_a_path_it_goes_with_the_other_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "understudy.access"):
        async with running("log: {access: {share: 100%}}") as sinks:
            sinks.take([example()])
            await eventually(lambda: caplog.records)
    (record,) = caplog.records
    assert record.getMessage() == "request"
    assert record.fields["id"] == "0198"  # type: ignore[attr-defined]


async def test_a_disk_that_fails_costs_lines_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.mkdir()
    async with running(f"log: {{access: {{path: {path}}}}}") as sinks:
        sinks.take([example()])
        await eventually(lambda: sinks.counts["access_log", "failed"] == 1)
        path.rmdir()
        sinks.take([example()])
        await eventually(lambda: sinks.counts["access_log", "written"] == 1)


# --- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_writer_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log_module, "MAX_WAITING", 5)
    release, begun = threading.Event(), threading.Event()

    class Stuck:
        def write(self, batch: list[RequestEntry]) -> None:
            begun.set()
            assert release.wait(20)

        def interrupt(self) -> None:
            release.set()

        def close(self) -> None:
            pass

    told: list[tuple[str, int]] = []
    sink = Sink("stuck", Stuck(), lambda result, n: told.append((result, n)))
    sink.offer(example())
    await eventually(begun.is_set)
    for _ in range(7):
        sink.offer(example())
    assert told == [("dropped", 1)] * 2
    await asyncio.to_thread(sink.close, 0.05)
    assert release.is_set()  # it was interrupted
    await eventually(lambda: sum(n for _, n in told) == 8)


async def test_whatever_a_writer_raises_costs_its_batch_and_not_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log_module, "BATCH", 1)

    class Odd:
        """Cannot write the first batch."""

        first = True

        def write(self, batch: list[RequestEntry]) -> None:
            if self.first:
                self.first = False
                raise UnicodeEncodeError("latin-1", "€", 0, 1, "in a header, say")

        def interrupt(self) -> None:
            pass

        def close(self) -> None:
            pass

    told: list[tuple[str, int]] = []
    sink = Sink("odd", Odd(), lambda result, n: told.append((result, n)))
    for _ in range(2):
        sink.offer(example())
    await eventually(lambda: len(told) == 2)
    assert told == [("failed", 1), ("written", 1)]
    await asyncio.to_thread(sink.close)


async def test_reload_goes_on_with_what_has_not_changed(tmp_path: Path) -> None:
    rule = f"log: {{access: {{path: {tmp_path / 'a.jsonl'}}}}}"
    async with running(rule) as sinks:
        before = sinks._sinks["access_log"][1]
        sinks.configure(config(rule))
        assert sinks._sinks["access_log"][1] is before
        sinks.configure(config(rule.replace("a.jsonl", "b.jsonl")))
        assert sinks._sinks["access_log"][1] is not before
        sinks.configure(config(""))
        sinks.take([TRACED])
        assert sinks.counts == {}
