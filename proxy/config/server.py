"""The part of the tree that is about servers: ours, the models', and where results go.

An attribute is named as its key in the file. Durations are seconds, sizes bytes. The line below each key is its
description in the JSON Schema and in `docs/configuration.md`. What can be said of a value on its own is checked here;
what needs its neighbours is in `checks`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from proxy.config.headers import UpstreamHeaders
from proxy.config.postgres_url import StoreUrl
from proxy.config.price import PriceConfig
from proxy.config.registry import one_secret
from proxy.config.types import (
    Balance,
    ByteRate,
    Count,
    Duration,
    FilePath,
    Flag,
    Listen,
    Moment,
    Network,
    PathChange,
    PointerText,
    Proxy,
    RequestPath,
    Section,
    ServerUrl,
    Size,
    StoreAddress,
    UpstreamHost,
    Url,
    Version,
    Workers,
    one_of,
)
from proxy.units import Unfit

EventName = Literal[
    "rollout.began",
    "rollout.rolled_back",
    "rollout.promoted",
    "rollout.advanced",
    "rollout.stalled",
    "rollout.completed",
    "rollout.removed",
    "drift.detected",
    "drift.ended",
]
"""Every event that `rollout.machine` announces (a test holds the two together), and those of `drift`."""


class Tls(Section):
    """TLS on the listening side."""

    cert: FilePath
    """Certificate chain, PEM."""
    key: FilePath
    """Private key, PEM."""
    client_ca: FilePath | None = None
    """Certificates that sign the clients' own; when set, a client without one is refused (mTLS)."""


class LimitsConfig(Section):
    """What one client may cost."""

    max_header: Size = 32 << 10
    """Longest request head; a longer one is answered with 431 (414 when its target alone is too long)."""
    max_body: Size = 64 << 20
    """Longest request body, answered with 413 when longer; longest message of a gRPC call (`RESOURCE_EXHAUSTED`)."""
    max_connections: Count = 10_000
    """Client connections over all workers; one more is answered with 503."""
    buffer: Size = 256 << 10
    """How much of a request's body is received before a connection to a model server is used. A body that is complete
    by then occupies the server only for the server's own time, even if the client is slow. Bodies beyond it are
    streamed. The first message of a gRPC call is also received first; later messages of a stream are not. The same
    amount of an answer, at least 64 KiB, is buffered for a client that does not read it. `0B` for none."""
    max_memory: Size = 128 << 20
    """Memory of one worker for such buffers; beyond it, bodies of requests and answers are streamed."""
    min_rate: ByteRate = 1 << 10
    """Minimum rate of a client that sends a body, or that reads an answer of which more than 64 KiB are buffered. A
    client that is more than 10s behind this rate is cut off (`slow_client`; 408 while it sends); more than 1s if others
    wait for its connection to a model. Time in which the model sends nothing does not count."""


class Timeouts(Section):
    """How long a client may take, and how long the proxy takes to leave."""

    header: Duration = 10.0
    """For the whole request head; then 408."""
    body: Duration = 30.0
    """Between two pieces of a request body; then 408."""
    request: Duration = 60.0
    """For a whole request from its first byte, except for time in which the proxy does not read because the model does
    not; then 408. gRPC: for each message of a call (`DEADLINE_EXCEEDED`), so that streams may take longer."""
    idle: Duration = 75.0
    """A kept-alive connection without a request is closed after this. So is one whose client does not read its answer,
    usually sooner because of `limits.min_rate`. A gRPC call that its client has not ended ends too
    (`DEADLINE_EXCEEDED`) if neither side sends anything; if its client has not sent a message yet, after `body`."""
    drain: Duration = 30.0
    """After SIGTERM, requests in flight have this long to finish."""
    drain_delay: Duration = 5.0
    """After SIGTERM, readiness fails this long before the drain begins, for a balancer to notice. SIGINT skips it."""


class Server(Section):
    """The data path's own side."""

    listen: Listen = "0.0.0.0:8080"
    """Address of the data port."""
    grpc_listen: Listen | None = None
    """Address for gRPC (HTTP/2), for routes whose live upstream has `grpc://` URLs; none when absent."""
    workers: Workers = "auto"
    """Worker processes; `auto` is one per core that affinity and the cgroup's quota grant."""
    tls: Tls | None = None
    """TLS on the data port and for gRPC; plain when absent."""
    trusted_proxies: tuple[Network, ...] = ()
    """Proxies and balancers in front, by address or network (`10.0.0.0/8`): from them `x-forwarded-*`, `forwarded` and
    `x-real-ip` are passed on, `x-forwarded-for` extended by the proxy's own address. From any other address (by default
    from all), `x-forwarded-for`, `-proto` and `-host` are replaced by the observed values, and the other headers are
    removed. The same applies to gRPC metadata."""
    limits: LimitsConfig = LimitsConfig()
    """What one client may cost."""
    timeouts: Timeouts = Timeouts()
    """How long a client may take."""
    watch: Duration | None = None
    """How often the files of the configuration (and those of `include` and `${file:PATH}`) are checked for changes,
    after which they are read again. When absent, they are read only at SIGHUP and `POST /-/reload`."""
    controller_lost: Duration = 30.0
    """If workers hear nothing from a controller for this long, they give every unpromoted candidate weight 0. A process
    that is silent three times as long is killed and restarted."""


class UpstreamTls(Section):
    """TLS to a model server."""

    ca: FilePath | None = None
    """Certificates to trust, PEM; the system's when absent."""
    cert: FilePath | None = None
    """Client certificate, PEM."""
    key: FilePath | None = None
    """The client certificate's key, PEM."""
    verify: Flag = True
    """Whether the server's certificate is checked."""


class Health(Section):
    """Active health checks; without them a URL is judged by its traffic alone."""

    path: RequestPath
    """Asked with GET; any 2xx is healthy. gRPC: a method, asked with an empty message; healthy with status OK; for
    `/grpc.health.v1.Health/Check` and the V2 protocol's `ServerLive`, `ServerReady` and `ModelReady` the content must
    say so too. `ModelReady` is asked for the model that `set_json` names."""
    interval: Duration = 5.0
    """Between two checks of one URL."""
    wait: Duration = 600.0
    """A candidate is not ready until a check of one of its URLs has succeeded, and while all of them fail. Meanwhile it
    gets no requests, and nothing counts. After this long its rollout ends as `stalled`."""


class Resolve(Section):
    """How the host names of URLs become addresses."""

    every: Duration = 30.0
    """A name is looked up again after this long, and after a connection to one of its addresses has failed. Each
    address is an endpoint of its own; the known ones serve meanwhile, and stay while a lookup fails."""


class UpstreamConfig(Section):
    """A named model server: one or more URLs that serve the same model."""

    model_config = ConfigDict(json_schema_extra=one_of("url", "urls"))

    urls: Annotated[tuple[ServerUrl, ...], Field(min_length=1)]
    """Where it is; each address of each URL is an endpoint. `url:` for one. `http`, `https`; `grpc` and
    `grpcs` for a server that speaks gRPC. A path in it goes before the path of every request."""
    host: UpstreamHost = "client"
    """The Host (`:authority`) that requests carry: the client's (`client`), that of the URL (`url`), or the one that is
    given, for gateways that distinguish models by it. A given one is also the name in TLS (SNI, certificate), and
    health checks carry it. `x-forwarded-host` is the client's in any case."""
    path: PathChange | None = None
    """Another path for requests to it: `{from: /v1/chat, to: /chat}` for one, `{from: /v1/*, to: /openai/*}` for all
    that begin so; the query stays, and so does any other path. `from` is the path as the client asks for it."""
    headers: UpstreamHeaders = UpstreamHeaders()
    """What the head of every request to it may carry."""
    set_json: dict[PointerText, Any] = Field(default_factory=dict)
    """Fields of the request's JSON set for it, by JSON pointer (`{/model: x}`). gRPC: `/model_name`, `/model_version`
    and `/id` of messages that name a model. If that is impossible (compressed, not JSON as far as it [must be
    read](placements.md#by-model), longer than `mirror.max_body`), a candidate does not get the request, and live gets
    it unchanged."""
    timeout: Duration = 30.0
    """How long it may be silent: from the last byte of the request to the answer's head, then between two pieces of the
    answer. This applies to answers for a client, held answers and copies."""
    connect_timeout: Duration = 0.5
    """For a new connection."""
    idle_timeout: Duration | None = None
    """How long an unused connection is kept at most; `4s` when absent, `60s` for gRPC. Shorter where the server says so
    (`Keep-Alive: timeout=`) or is seen to close them sooner."""
    max_connections: Count = 256
    """Connections over all workers."""
    version: Version | None = None
    """A new version starts a new trial; when absent, a hash of the sorted URLs, and of `host` and `path` where they say
    who is asked. If a [registry](registry.md) names the versions, this version is used until it names one; after that,
    the latest change applies, here or there. `{version}` in the texts of such an upstream is filled in."""
    price: PriceConfig | None = None
    """What an answer costs, for `max_cost`, `mirror.max_cost` and the figures of [cost](cost.md)."""
    signed_off_at: Moment | None = None
    """When the model was approved; lead time is measured from here."""
    tls: UpstreamTls | None = None
    """TLS settings for https and grpcs URLs."""
    resolve: Resolve = Resolve()
    """How host names become addresses."""
    balance: Balance = "least_loaded"
    """Which endpoint gets a request: the less busy of two picked at random (`least_loaded`), or the one to which a hash
    assigns it, of `{hash: {header: x-session}}`, `{hash: {cookie: session}}`, `{hash: {json: /user}}` (gRPC: of a
    ModelInferRequest), `{hash: prefix}` (how a conversation begins). No endpoint has more than 1.25 times the mean
    number of requests. A request without that header, cookie or field goes to the less busy endpoint; so does one whose
    body is compressed, or longer than `mirror.max_body` and `server.limits.buffer`."""
    health: Health | None = None
    """Active health checks; off when absent."""

    @model_validator(mode="before")
    @classmethod
    def _one_url(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "url" not in value:
            return value
        if "urls" in value:
            raise Unfit("either `url` or `urls`, not both")
        return {"urls": [value["url"]], **{key: item for key, item in value.items() if key != "url"}}

    @property
    def grpc(self) -> bool:
        """Whether it speaks gRPC."""
        return self.urls[0].startswith("grpc")

    @property
    def effective_version(self) -> str:
        """`version`, else a hash of what says who is asked: the sorted URLs, `host`, `path`.

        >>> UpstreamConfig(urls=("http://a:1", "http://b:2")).effective_version
        'urls-d9a898e1'
        """
        where = [*sorted(self.urls), *([] if self.host == "client" else [self.host])]
        where += [f"{self.path.start} {self.path.to}"] if self.path is not None else []
        return self.version or "urls-" + hashlib.sha256("\n".join(where).encode()).hexdigest()[:8]


class Webhook(Section):
    """A receiver of events: of rollouts, and of [drift](drift.md)."""

    model_config = ConfigDict(json_schema_extra=one_of("secret", "secrets"))

    url: Url = Field(repr=False)
    """Where events are posted."""
    events: Annotated[tuple[EventName, ...], Field(min_length=1)] = ("rollout.rolled_back", "rollout.promoted")
    """Which events."""
    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    """Each secret signs every event, the first one first. A receiver accepts an event if one signature is valid, so its
    secret can be changed at any time. `secret:` for one."""
    template: Literal["standard", "alertmanager", "cloudevents", "cloudevents_binary"] = "standard"
    """Body: Understudy's own (Standard Webhooks), Alertmanager's version 4, or a CloudEvent 1.0, structured or binary.
    All are signed alike."""
    proxy: Proxy = Field(default="environment", repr=False)
    """HTTP proxy to reach it through: a URL (`http://user:password@proxy.example:3128`; https receivers by CONNECT),
    `off` for none, or `environment`: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of this process, in lower
    case first, as curl reads them."""

    @model_validator(mode="before")
    @classmethod
    def _one_secret(cls, value: Any) -> Any:
        return one_secret(value)


class Store(Section):
    """Where the state of rollouts is saved."""

    path: FilePath = "state/understudy.db"
    """SQLite file; its folder is made when missing. When absent, `state/NAME.db` beside the configuration file
    NAME.yaml, so that two configurations in one folder have two stores. Not used with `url`."""
    url: StoreAddress | None = None
    """PostgreSQL (14 or newer) instead of a file: [replicas that share it](store.md#postgresql) are one fleet. A URL as
    psql takes it, several hosts with commas between; `sslmode` is `verify-full` when absent, on this machine `disable`.
    Password and whatever else stands in `${NAME}` or `${file:PATH}` is read again for each connection."""

    @property
    def where(self) -> str:
        """What the store is called: a path, or a URL without what is secret in it."""
        return self.path if self.url is None else self.url.shown

    @model_validator(mode="before")
    @classmethod
    def _named_as_the_file(cls, value: Any, info: ValidationInfo) -> Any:
        context = info.context or {}
        if not isinstance(value, dict):
            return value
        if "path" in value and "url" in value:
            raise Unfit("either `path` or `url`, not both")
        if isinstance(url := value.get("url"), str):
            template = context.get("written", {}).get(("store", "url"), url)
            here, environ = context.get("directory", Path()), context.get("environ", {})
            value = {**value, "url": StoreUrl(template, here, environ)}
        return {"path": f"state/{context.get('name', 'understudy')}.db", **value}
