"""TLS contexts: towards clients (made anew at every reload) and towards models (verified by default)."""

from __future__ import annotations

import ssl

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


def for_upstream(upstream: UpstreamSpec) -> ssl.SSLContext | None:
    """A context for an upstream's https or grpcs URLs, `None` when it has none; raises like `for_clients`."""
    if not any(url.startswith(("https:", "grpcs:")) for url in upstream.urls):
        return None
    return for_models(upstream.tls, "h2" if upstream.grpc else "http/1.1")


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
