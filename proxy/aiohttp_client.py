"""aiohttp's client with the authorities that this machine trusts, which are read when somebody first connects.

aiohttp reads them twice at its import: 45 ms of a core and 2 MiB in every controller, most of which never ask an https
server. So it is imported here first, with nothing to be read, and what asks a server takes `connector`. With another
one no certificate would be trusted: `tests/proxy/test_aiohttp_client.py` finds those.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""What OpenSSL looks up its default places in, each time that it is asked for them."""


@contextmanager
def _nothing_trusted() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _PLACES}
    os.environ.update(dict.fromkeys(_PLACES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _nothing_trusted():
    import aiohttp


@cache
def this_machines_trust() -> ssl.SSLContext:
    """What trusts the authorities of this machine, as aiohttp's own context does."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    return context


def connector(**options: Any) -> aiohttp.TCPConnector:
    """Connections of a client, with options of aiohttp's connector; where a request says nothing else, certificates are
    checked as `this_machines_trust` says."""
    return aiohttp.TCPConnector(ssl=this_machines_trust(), **options)
