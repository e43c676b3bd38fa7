"""A worker's configuration, read piece by piece: what stands there letter for letter as in the last one is the same
object again.

Whoever has made something of a piece sees by `is` that it need not be made anew. And no step of the reading takes long,
however many routes there are: it is done between requests.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from proxy.model.lineage import VERSION
from proxy.model.worker_config import RouteSpec, Spec, UpstreamSpec, WorkerConfig

T = TypeVar("T")
_Spec = TypeVar("_Spec", bound=Spec)
StepsTo = Generator[None, None, T]
"""Work that may be laid down between any two of its steps, and what comes of it."""

_UNREAD: dict[str, tuple[Any, ...]] = {
    "upstreams": (dict[str, msgspec.Raw],),
    "routes": (tuple[msgspec.Raw, ...], ()),
    "default": (msgspec.Raw, msgspec.Raw(b"null")),
}
_Pieces: Any = msgspec.defstruct(
    "_Pieces",
    [
        (one.name, *_UNREAD.get(one.name, (one.type, *(() if one.default is msgspec.NODEFAULT else (one.default,)))))
        for one in msgspec.structs.fields(WorkerConfig)
    ],
)
"""A `WorkerConfig` whose upstreams and routes are not read yet."""


class _Note(msgspec.Struct):
    """CONFIG for a worker."""

    generation: int
    config: msgspec.Raw


def read_config_note(payload: bytes) -> tuple[int, bytes]:
    """The generation in a CONFIG for a worker, and its configuration, unread; raises `ValueError`."""
    note = msgspec.json.decode(payload, type=_Note)
    return note.generation, bytes(note.config)


def finish(steps: StepsTo[T]) -> T:
    """What comes of steps that are done one right after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def read_worker_config(text: bytes) -> WorkerConfig:
    """What `WorkerConfig.encode` gave; raises `ValueError` for anything else.

    >>> from proxy.model.worker_config import DataPortSpec
    >>> it = WorkerConfig(DataPortSpec(*[1] * 12), {"m": UpstreamSpec(("http://a:1",), 1.0, 1.0, 1, 1.0)})
    >>> read_worker_config(it.encode()) == it
    True
    """
    return finish(KnownPieces().read(text))


class KnownPieces:
    """Of what the last configuration was put together."""

    def __init__(self) -> None:
        self._read: dict[bytes, Spec] = {}
        self._filled: dict[tuple[Any, ...], tuple[Spec, Spec]] = {}

    def read(self, text: bytes) -> StepsTo[WorkerConfig]:
        """What `WorkerConfig.encode` gave; raises `ValueError` for anything else.

        >>> from proxy.model.worker_config import DataPortSpec
        >>> known, asked = KnownPieces(), UpstreamSpec(("http://a:1",), 1.0, 1.0, 1, 1.0)
        >>> files = (WorkerConfig(DataPortSpec(n, *[1] * 11), {"m": asked}) for n in (1, 2))
        >>> one, other = (finish(known.read(file.encode())) for file in files)
        >>> one == other, one.upstreams["m"] is other.upstreams["m"]
        (False, True)
        """
        pieces, read = msgspec.json.decode(text, type=_Pieces), dict[bytes, Spec]()
        yield
        upstreams: dict[str, UpstreamSpec] = {}
        for name, raw in pieces.upstreams.items():
            upstreams[name] = self._piece(bytes(raw), UpstreamSpec, read)
            yield
        routes: list[RouteSpec] = []
        for raw in pieces.routes:
            routes.append(self._piece(bytes(raw), RouteSpec, read))
            yield
        text = bytes(pieces.default)
        default = None if text == b"null" else self._piece(text, RouteSpec, read)
        self._read = read
        rest = {name: getattr(pieces, name) for name in pieces.__struct_fields__ if name not in _UNREAD}
        return WorkerConfig(upstreams=upstreams, routes=tuple(routes), default=default, **rest)

    def _piece(self, text: bytes, kind: type[_Spec], read: dict[bytes, Spec]) -> _Spec:
        found = self._read.get(text) or read.get(text)
        if not isinstance(found, kind):
            found = msgspec.json.decode(text, type=kind)
        read[text] = found
        return found

    def with_versions(self, config: WorkerConfig, versions: dict[str, str]) -> WorkerConfig:
        """With `{version}` filled in. Of an upstream whose version is not known yet there is nothing, nor of rollouts
        whose candidate it is: nobody can be asked.

        >>> from proxy.model.worker_config import DataPortSpec
        >>> asked = UpstreamSpec(("http://a-{version}:1",), 1.0, 1.0, 1, 1.0, registered=True)
        >>> file, known = WorkerConfig(DataPortSpec(*[1] * 12), {"m": asked}), KnownPieces()
        >>> one, same, none = (known.with_versions(file, named).upstreams for named in ({"m": "7"}, {"m": "7"}, {}))
        >>> one["m"].urls, one["m"] is same["m"], none
        (('http://a-7:1',), True, {})
        """
        named = {name: versions.get(name) for name, upstream in config.upstreams.items() if upstream.registered}
        if not named:
            return config
        used: dict[tuple[Any, ...], tuple[Spec, Spec]] = {}
        upstreams = {
            name: one if name not in named else self._once(one, (version,), used, _upstream_of)
            for name, one in config.upstreams.items()
            if (version := named.get(name, "")) is not None
        }
        routes = tuple([self._route(route, named, used) for route in config.routes])
        self._filled = used
        return msgspec.structs.replace(config, upstreams=upstreams, routes=routes)

    def _route(
        self, route: RouteSpec, named: dict[str, str | None], used: dict[tuple[Any, ...], tuple[Spec, Spec]]
    ) -> RouteSpec:
        versions = tuple([named.get(one.candidate, "") for one in route.rollouts])
        return self._once(route, versions, used, _route_of) if any(version != "" for version in versions) else route

    def _once(
        self,
        spec: _Spec,
        versions: tuple[str | None, ...],
        used: dict[tuple[Any, ...], tuple[Spec, Spec]],
        fill: Callable[[_Spec, tuple[str | None, ...]], _Spec],
    ) -> _Spec:
        """A piece with versions filled in: that of the last time where it was the same piece with the same ones."""
        key = (id(spec), versions)
        before, filled = self._filled.get(key) or used.get(key) or (None, None)
        if before is not spec or not isinstance(filled, type(spec)):
            filled = fill(spec, versions)
        used[key] = spec, filled
        return filled


def _upstream_of(upstream: UpstreamSpec, versions: tuple[str | None, ...]) -> UpstreamSpec:
    return _filled(upstream, versions[0] or "")


def _route_of(route: RouteSpec, versions: tuple[str | None, ...]) -> RouteSpec:
    """A route with these versions of its candidates, where they are the registry's (else empty)."""
    rollouts = tuple(
        _filled(one, version) if version else one
        for one, version in zip(route.rollouts, versions, strict=True)
        if version is not None
    )
    return msgspec.structs.replace(route, rollouts=rollouts)


def _filled(spec: _Spec, version: str) -> _Spec:
    """With a version in the place of `{version}`, in whichever text it stands. It is of letters that need no escape."""
    text = msgspec.json.encode(spec).decode().replace(VERSION, version)
    return msgspec.json.decode(text, type=type(spec))
