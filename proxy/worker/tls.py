"""TLS contexts: towards clients (made anew at every reload) and towards models (verified by default; made anew at a
reload where their files are others)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

from proxy.model.worker_config import TlsSpec, UpstreamSpec


def for_clients(tls: TlsSpec, protocol: str = "http/1.1") -> ssl.SSLContext:
    """A context that serves `tls` from its files as they are now, for one `protocol` (an ALPN name).

    Raises `OSError` and `ssl.SSLError` when a file cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    context.load_cert_chain(tls.cert or "", tls.key)
    if tls.ca is not None:
        context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_models(tls: TlsSpec | None, protocol: str = "http/1.1") -> ssl.SSLContext:
    """A context towards a model server; raises like `for_clients`."""
    context = ssl.create_default_context(cafile=tls.ca if tls is not None else None)
    context.set_alpn_protocols([protocol])
    if tls is not None and tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    if tls is not None and not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_Key = tuple[TlsSpec | None, str]
_Look = tuple[tuple[int, ...], ...]


class ModelContexts:
    """The contexts of a worker's upstreams: one for all that ask for the same, until one of its files changes. To make
    one takes milliseconds.

    `make` may be called in a thread while the loop asks for others: neither goes through what the other one changes.
    """

    def __init__(self) -> None:
        self._made: dict[_Key, tuple[_Look, ssl.SSLContext]] = {}
        self._coming: frozenset[_Key] = frozenset()

    def of(self, upstream: UpstreamSpec) -> ssl.SSLContext | None:
        """The context for an upstream's https or grpcs URLs, by its files as they are now, `None` when it has none;
        raises like `for_clients`."""
        if not upstream.has_tls:
            return None
        key = _key(upstream)
        look = _look_at(upstream.tls)
        found = self._made.get(key)
        if found is None or found[0] != look:
            made = look, for_models(*key)
            found = self._made.get(key)
            if found is None or found[0] != look:  # else another thread has been quicker
                found = self._made[key] = made
        return found[1]

    def make(self, upstreams: Iterable[UpstreamSpec]) -> None:
        """Make those that these ask for and that are not there; raises like `for_clients`."""
        coming = [one for one in upstreams if one.has_tls]
        self._coming = frozenset(map(_key, coming))
        for one in coming:
            self.of(one)

    def settle(self, upstreams: Iterable[UpstreamSpec]) -> None:
        """These are in force: forget what neither they nor those of the last `make` ask for."""
        if self._made:
            kept = self._coming.union(map(_key, upstreams))
            for key in list(self._made):
                if key not in kept:
                    del self._made[key]


def _key(upstream: UpstreamSpec) -> _Key:
    return upstream.tls, "h2" if upstream.grpc else "http/1.1"


def _look_at(tls: TlsSpec | None) -> _Look:
    """How the files of a context look; raises `OSError`. Without `ca` what this machine trusts counts too."""
    named = (None, None, None) if tls is None else (tls.cert, tls.key, tls.ca)
    trusted = ssl.get_default_verify_paths()[:2] if named[2] is None else ()  # a file, and a directory of them
    files = [one for one in (*named, *trusted) if one is not None]
    return tuple((at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns) for at in map(os.stat, files))
