"""What a worker has to know of the configuration: plain values, in the form in which they cross the control channel.

The supervisor reads the file (`config`) and makes these of it (`config.for_workers`); a worker needs neither the file
nor what reads it. Durations are seconds, sizes bytes; JSON is kept as the text that was written.
"""

from __future__ import annotations

import msgspec

OWN_PATHS = "/-/"
"""Paths that begin so are the proxy's own."""
DEFAULT_ROUTE = "default"
"""The name of the route that has what no other has."""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of them. Its `repr` holds no values: some are secrets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class TlsSpec(Spec, frozen=True):
    """Certificate and key of our own, and the certificates that the other side's is checked by."""

    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    verify: bool = True


class DataPortSpec(Spec, frozen=True):
    """What one client may cost, and how long it may take."""

    max_header: int
    max_body: int
    max_connections: int
    buffer: int
    max_memory: int
    min_rate: int
    header: float
    body: float
    request: float
    idle: float
    drain: float
    controller_lost: float
    trusted_proxies: tuple[str, ...] = ()
    tls: TlsSpec | None = None


class HeaderSpec(Spec, frozen=True):
    """Headers that are left out of a head, in lower case and in order, and those that are set.

    No set is in a configuration: another process would write it in another order, and then no piece would be the same
    as in the last one (`model.config_pieces`)."""

    dropped: tuple[str, ...] = ()
    set: dict[str, str] = {}


class HealthSpec(Spec, frozen=True):
    """How an upstream's health is asked for."""

    path: str
    interval: float
    wait: float


class UpstreamSpec(Spec, frozen=True):
    """A model server. `path` is from and to, `hashed_by` the kind and the name of a hash key. `registered`: the routing
    table names its version, which stands in its texts as `{version}`."""

    urls: tuple[str, ...]
    timeout: float
    connect_timeout: float
    max_connections: int
    renew_names: float
    idle_timeout: float | None = None
    host: str = "client"
    path: tuple[str, str] | None = None
    headers: HeaderSpec = HeaderSpec()
    set_json: dict[str, str] = {}
    hashed_by: tuple[str, str] | None = None
    tls: TlsSpec | None = None
    health: HealthSpec | None = None
    registered: bool = False

    @property
    def grpc(self) -> bool:
        """Whether it speaks gRPC.

        >>> UpstreamSpec(("grpcs://a:1",), 1.0, 1.0, 1, 1.0).grpc
        True
        """
        return self.urls[0].startswith("grpc")

    @property
    def has_tls(self) -> bool:
        """Whether one of its URLs is asked by TLS.

        >>> UpstreamSpec(("http://a:1", "https://b:1"), 1.0, 1.0, 1, 1.0).has_tls
        True
        """
        return any(url.startswith(("https:", "grpcs:")) for url in self.urls)


class RolloutSpec(Spec, frozen=True):
    """A candidate, how it is copied to, and when live answers instead. `fallback_after` is `None` for `auto`.
    `whole_requests` says that the controller needs all of a request's body, however long."""

    name: str
    trial: str
    version: str
    candidate: str
    headers: HeaderSpec
    max_in_flight: int
    max_body: int
    max_memory: int
    timeout: float | None
    max_duration: float | None
    fallback: bool
    fallback_after: float | None
    hold: float
    noise_floor: float
    paced: bool
    counts_users: bool = False
    whole_requests: bool = True


class DualWriteSpec(Spec, frozen=True):
    """The second upstream of calls that set up state."""

    upstream: str
    timeout: float
    headers: HeaderSpec


class RouteSpec(Spec, frozen=True):
    """Which requests belong to a route, and who answers them. `json` are the values of fields as JSON, by pointer;
    `pointers` the places in events of streams where predictions look;
    `observations_per_second` is of all workers together, `None` where nothing is observed."""

    name: str
    live: str
    path: str = ""
    methods: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    json: dict[str, str] = {}
    default: bool = False
    idempotent: bool = False
    sticky_header: str = ""
    sticky_cookie: str = ""
    sticky_json: str = ""
    override: str = ""
    pointers: tuple[str, ...] = ()
    observations_per_second: float | None = None
    dual_write: DualWriteSpec | None = None
    rollouts: tuple[RolloutSpec, ...] = ()


class WorkerConfig(Spec, frozen=True):
    """All of it. `default` is where requests go that match no route; shares are ratios, `None` for off; `keys` are
    secrets, in Latin-1, that must not be in pairs."""

    data_port: DataPortSpec
    upstreams: dict[str, UpstreamSpec]
    routes: tuple[RouteSpec, ...] = ()
    default: RouteSpec | None = None
    log_format: str = "json"
    log_level: str = "info"
    access_share: float | None = None
    trace_share: float | None = None
    keys: tuple[str, ...] = ()

    @property
    def has_rollouts(self) -> bool:
        """Whether a controller has something to decide."""
        return any(route.rollouts for route in self.routes)

    def encode(self) -> bytes:
        """As JSON, which `model.config_pieces` reads."""
        return msgspec.json.encode(self)
