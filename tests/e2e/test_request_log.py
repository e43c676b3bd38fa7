"""Promise: the whole program continues a caller's trace to both models, and tells a collector, the access log and the
exemplars of its metrics."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.harness import route, running

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANSWER = {"model_name": "m", "outputs": [{"name": "predict", "datatype": "INT64", "shape": [1], "data": [1]}]}


async def test_a_trace_from_the_caller_to_both_models_and_to_the_collector(tmp_path: Path) -> None:
    spans: list[Span] = []
    asked: dict[str, str] = {}

    async def collect(request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        return web.Response()

    async def infer(request: web.Request) -> web.Response:
        asked["copy" if "x-shadow" in request.headers else "live"] = request.headers["traceparent"]
        return web.json_response(ANSWER)

    application = web.Application()
    application.router.add_post("/v1/traces", collect)
    application.router.add_post("/shop/infer", infer)
    async with TestServer(application) as server:
        url = f"http://{server.host}:{server.port}"
        config = {
            "upstreams": {"live": {"url": url}, "candidate": {"url": f"http://localhost:{server.port}"}},
            "routes": [route("shop", "live", "candidate", [{"shadow": "100%"}])],
            "tracing": {"otlp": url, "share": "0%"},
            "log": {"access": {"share": "100%", "path": "access.jsonl"}},
        }
        async with running(tmp_path, config) as understudy, aiohttp.ClientSession() as client:
            parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            ask = client.post(understudy.data_url + "/shop/infer", json={"inputs": []}, headers=parent)
            async with ask as answer:
                assert answer.status == 200
                name = answer.headers["x-request-id"]
            async with asyncio.timeout(30):
                while len(spans) < 3 or len(asked) < 2:  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.05)
            text = await understudy.metrics()
            openmetrics = {"accept": "application/openmetrics-text; version=1.0.0"}
            buckets: list[str] = []
            async with asyncio.timeout(30):
                while not buckets:  # counts come once a second
                    async with client.get(understudy.admin_url + "/metrics", headers=openmetrics) as scrape:
                        lines = (await scrape.text()).splitlines()
                    buckets = [line for line in lines if f'trace_id="{TRACE}"' in line and "copy" in line]
                    await asyncio.sleep(0.05)
            assert await understudy.stop(signal.SIGINT) == 0  # without the delay after SIGTERM
        logged = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    kinds = {span.name.split()[0]: span for span in spans}
    assert asked["live"] == f"00-{TRACE}-{kinds['served'].span_id.hex()}-01"
    assert asked["copy"] == f"00-{TRACE}-{kinds['copy'].span_id.hex()}-01"
    assert kinds["POST"].parent_span_id.hex() == CALLER
    assert {kinds["served"].parent_span_id, kinds["copy"].parent_span_id} == {kinds["POST"].span_id}
    assert [link.span_id for link in kinds["copy"].links] == [kinds["served"].span_id]
    assert [(line["id"], line["trace_id"], line["upstream"]) for line in logged] == [(name, TRACE, "live")]
    assert 'understudy_request_log_total{result="dropped",sink="traces"} 0.0' in text
    assert " # " not in text.replace("\n# ", "\n")
    (bucket,) = buckets
    assert bucket.startswith("understudy_request_duration_seconds_bucket")
    assert f'request_id="{name}"' in bucket
