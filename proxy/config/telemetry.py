"""What is written and exported of what happens: the log, the access log, traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from proxy.config.types import Count, FilePath, Header, Proportion, Section, Size, Url


class Access(Section):
    """A line for each of a share of the requests, without headers, query and bodies."""

    share: Proportion = 0.01
    """Share of the requests, drawn by a hash of the [pair id](concepts.md#ids)."""
    path: FilePath | None = None
    """JSON lines go to this file; to standard error, with the other lines, when absent."""
    max_size: Size = 256 << 20
    """A file of this size is put aside and a new one begun."""
    files: Count = 4
    """How many files are kept, including the present one."""


class Log(Section):
    """What is written to standard error."""

    format: Literal["json", "text"] = "json"
    """One JSON object per line, or text for a person."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is written."""
    access: Access | None = None
    """The access log; none when absent."""


class Tracing(Section):
    """Export of traces to an OpenTelemetry collector (needs the extra `otel`)."""

    otlp: Url
    """The collector's base URL for OTLP over HTTP, such as `http://127.0.0.1:4318`; spans are posted to `/v1/traces`
    below it."""
    share: Proportion = 0.01
    """Share of the requests that come without a trace and begin one; a request with `traceparent` is exported as its
    sampled flag says."""
    service_name: Annotated[str, Field(min_length=1, max_length=128)] = "understudy"
    """`service.name` of the spans."""
    headers: dict[Header, SecretStr] = Field(default_factory=dict, repr=False)
    """Sent to the collector: a key, say."""
