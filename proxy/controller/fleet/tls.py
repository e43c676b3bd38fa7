"""TLS between the replicas of a fleet: each shows a certificate of the fleet's own authority, on both ends.

The authority is the whole of the trust: whoever has a certificate of it may be a replica, so it must sign nothing else.
Names are not compared, for replicas know each other by address, and addresses of pods are in no certificate. Files are
read when the contexts are made, which is at start and at every reload; open connections keep theirs.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROTOCOL = "understudy"
"""The name in ALPN, so that a port that speaks something else is told apart."""


@dataclass(frozen=True, slots=True)
class LinkContexts:
    """One replica's ends: towards standbys where it leads, and towards the leader."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def for_links(cert: str | Path, key: str | Path, ca: str | Path) -> LinkContexts:
    """Both contexts, from PEM files as they are now. Raises `OSError` and `ssl.SSLError` when one cannot be read or
    does not fit."""
    ends = []
    for end in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(end)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        context.set_alpn_protocols([PROTOCOL])
        ends.append(context)
    return LinkContexts(*ends)


_NOT_OURS = (18, 19, 20, 21)
"""What OpenSSL calls a certificate whose authority it has no reason to believe (X509_V_ERR_…)."""
_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
    "CERTIFICATE_REQUIRED": "the other end wants a certificate, and we showed none",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the other end wants a certificate, and we showed none",
    "TLSV1_ALERT_UNKNOWN_CA": "the other end does not know the authority of our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, the other end says",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other end does not take our certificate",
    "WRONG_VERSION_NUMBER": "no TLS at the other end",
    "HTTP_REQUEST": "no TLS at the other end, but HTTP",
    "UNSUPPORTED_PROTOCOL": "no TLS 1.3 at the other end",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no TLS 1.3 at the other end",
}  # fmt: skip


def trouble_with(error: BaseException) -> str:
    """What went wrong with a connection, in words that say whose certificate it is about.

    >>> trouble_with(TimeoutError()), trouble_with(ConnectionResetError())
    ('no answer in time', 'the other end closed the connection')
    """
    verified: Any = getattr(error, "verify_message", "")
    if verified:
        stranger = getattr(error, "verify_code", 0) in _NOT_OURS
        return f"the other end's certificate{' is not of our authority' if stranger else ''}: {verified}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _WORDS.get(error.reason, error.reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "the other end closed the connection"
    return str(error) or repr(error)
