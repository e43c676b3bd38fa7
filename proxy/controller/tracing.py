"""Request log entries as OpenTelemetry spans, posted to a collector by the official SDK's exporter (OTLP over HTTP,
protobuf).

    request     SERVER   from the head to the last byte of the client's answer
    └── leg     CLIENT   one for each leg, from the last request byte to the last answer byte; `understudy.leg` is
                         served, copy or hedge, `understudy.arm` live or candidate
                         a copy has a link to the leg whose request it repeats

The SDK's tracer is not used: spans come here finished, with the ids that the models have seen. Names follow the
semantic conventions for HTTP (stable since 1.23).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from proxy import __version__
from proxy.config.telemetry import Tracing
from proxy.pairs.request_log import LegEntry, RequestEntry

Attributes = dict[str, str | int | float | bool]
TIMEOUT = 10.0
"""Seconds for one post, its repetitions included."""
_SCOPE = InstrumentationScope("understudy", __version__)


class ExportError(OSError):
    """The collector did not take a batch."""


class Exporter:
    """A `request_log.Writer` over the SDK's exporter."""

    def __init__(self, rule: Tracing) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the sink says once that it fails, and why
        self._resource = Resource({"service.name": rule.service_name, "service.version": __version__})
        self._endpoint = rule.otlp.rstrip("/") + "/v1/traces"
        headers = {name: value.get_secret_value() for name, value in rule.headers.items()}
        self._exporter = OTLPSpanExporter(self._endpoint, headers=headers, timeout=TIMEOUT)

    def write(self, batch: list[RequestEntry]) -> None:
        spans = [span for entry in batch for span in spans_of(entry, self._resource)]
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise ExportError(f"{self._endpoint} did not take the spans")

    def interrupt(self) -> None:
        self.close()

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's has no annotations


def spans_of(entry: RequestEntry, resource: Resource) -> Iterator[ReadableSpan]:
    """The spans of one request, the request's own first."""
    request = _context(entry.trace, entry.span)
    parent = _context(entry.trace, entry.parent, remote=True) if entry.parent else None
    attributes: Attributes = {
        "http.request.method": entry.method,
        "http.response.status_code": entry.status,
        "url.path": entry.path,
        "client.address": entry.client,
        "understudy.route": entry.route,
        "understudy.request_id": entry.id,
        "understudy.served_by": entry.upstream,
        "understudy.arm": entry.arm,
        "understudy.hedged": entry.hedged,
        "understudy.fell_back": entry.fell_back,
    }
    yield ReadableSpan(
        f"{entry.method} {entry.route}", request, parent, resource, _set(attributes, entry.reason),
        kind=SpanKind.SERVER, status=_status(entry.status >= 500), instrumentation_scope=_SCOPE,
        start_time=_ns(entry.start), end_time=_ns(entry.start + entry.seconds),
    )  # fmt: skip
    original = next((leg for leg in entry.legs if leg.leg != "copy" and leg.upstream == entry.upstream), None)
    for leg in entry.legs:
        links = [Link(_context(entry.trace, original.span))] if leg.leg == "copy" and original is not None else []
        yield _leg_span(entry, leg, request, links, resource)


def _leg_span(
    entry: RequestEntry, leg: LegEntry, request: SpanContext, links: list[Link], resource: Resource
) -> ReadableSpan:
    attributes: Attributes = {
        "http.request.method": entry.method,
        "url.path": entry.path,
        "understudy.leg": leg.leg,
        "understudy.arm": leg.arm,
        "understudy.upstream": leg.upstream,
        "understudy.rollout": leg.rollout,
    }
    if leg.status:
        attributes["http.response.status_code"] = leg.status
    if leg.first is not None:
        attributes["understudy.first_byte_seconds"] = leg.first
    failed = leg.status >= 400 or bool(leg.reason)
    return ReadableSpan(
        f"{leg.leg} {leg.upstream}", _context(entry.trace, leg.span), request, resource, _set(attributes, leg.reason),
        links=links, kind=SpanKind.CLIENT, status=_status(failed), instrumentation_scope=_SCOPE,
        start_time=_ns(leg.start), end_time=_ns(leg.start + leg.seconds),
    )  # fmt: skip


def _context(trace: str, span: str, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED))


def _set(attributes: Attributes, reason: str) -> Attributes:
    """Those that say something, and the reason word as `error.type`."""
    return {name: value for name, value in {**attributes, "error.type": reason}.items() if value != ""}


def _status(failed: bool) -> Status:
    return Status(StatusCode.ERROR if failed else StatusCode.UNSET)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
