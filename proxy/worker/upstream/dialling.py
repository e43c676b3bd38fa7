"""What an upstream's pools dial with, and why an attempt to connect has failed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from proxy.fields.hash_key import HashKey
from proxy.fields.set_json import Rules
from proxy.http.placement import PathRule
from proxy.model.reasons import Reason
from proxy.model.worker_config import HeaderSpec, HealthSpec, TlsSpec
from proxy.worker.upstream.endpoint import IDLE, Endpoint


@dataclass(frozen=True)
class Settings:
    """What makes two pools the same; limits are this worker's part. Times in seconds."""

    name: str
    urls: tuple[str, ...]
    timeout: float
    connect_timeout: float
    max_connections: int
    tls: TlsSpec | None = None
    health: HealthSpec | None = None
    renew_names: float = 30.0
    idle_timeout: float = IDLE
    host: str = "client"
    path: PathRule | None = None
    headers: HeaderSpec | None = None
    set_json: Rules = field(default=(), repr=False)
    hash_key: HashKey | None = None
    """What requests are hashed by; `None` where the less loaded endpoint gets them."""


def why(error: BaseException | None) -> Reason:
    """Why an attempt to connect has failed, `NONE` when it has not."""
    match error:
        case None:
            return Reason.NONE
        case TimeoutError():
            return Reason.CONNECT_TIMEOUT
        case ssl.SSLError():
            return Reason.TLS
        case OSError() | UnicodeError():  # the latter of a name that cannot be one
            return Reason.CONNECT
    return Reason.INTERNAL


async def found(endpoint: Endpoint) -> str:
    """The address of an endpoint whose name is not known yet, as soon as it is; raises what the lookup raised."""
    assert endpoint.name is not None
    addresses = await endpoint.name.known()
    return endpoint.address or addresses[0]
