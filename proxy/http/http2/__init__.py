"""HTTP/2 (RFC 9113) as far as gRPC needs it. Start in `connection.py`; `sending.py` is its other half,
`blocks.py` reads heads, `frames.py` is what all of it is made of."""

from proxy.http.http2.connection import Http2
from proxy.http.http2.frames import HIGH, Headers, Http2Error, Stream

__all__ = ["HIGH", "Headers", "Http2", "Http2Error", "Stream"]
