"""One hash of what the replicas of a fleet must have in common: the configuration as it is written.

Left out is what belongs to one replica: where it listens and is reached, its certificates, how many workers it has,
where it writes its log and sends its traces, and how it spells the way to the store. Comments and layout do not count,
the order of keys does (in `set_json` it decides). `${NAME}` and `${file:PATH}` count as they are written, so that the
hash tells nothing of a secret, and is the same where each replica has an address of its own by `${POD_IP}`. All files
count as one: which of them says something decides its owner and the order of routes, and those count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.config.text import Document, Path

OWN: tuple[Path, ...] = (
    ("server", "listen"),
    ("server", "grpc_listen"),
    ("server", "workers"),
    ("server", "tls"),
    ("admin", "listen"),
    ("admin", "url"),
    ("store", "path"),
    ("store", "url"),
    ("fleet", "listen"),
    ("fleet", "advertise"),
    ("fleet", "tls"),
    ("log",),
    ("tracing",),
)
"""What may differ from replica to replica."""


def fingerprint(document: Document) -> str:
    """SHA-256 in hexadecimal of a valid configuration.

    >>> from proxy.config.text import read
    >>> def hash_of(text): return fingerprint(read(text, {"NAME": "c"}))
    >>> one = hash_of("server: {listen: '10.0.0.1:80'}\\nupstreams: {a: {url: 'http://b'}} # ours")
    >>> one == hash_of("upstreams: {a: {url: http://b}}"), one == hash_of("upstreams: {a: {url: 'http://${NAME}'}}")
    (True, False)
    """
    data = _written(document.data, (), document.secret)
    for *way, last in OWN:
        holder = data
        for step in way:
            holder = holder.get(step) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(last, None)
            if way and not holder:  # one that holds nothing else is as good as none
                data.pop(way[0])
    return hashlib.sha256(orjson.dumps(data)).hexdigest()


def _written(value: Any, path: Path, written: Mapping[Path, str]) -> Any:
    """A copy with `${…}` in the place of what was filled in."""
    if isinstance(value, dict):
        return {key: _written(item, (*path, key), written) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item, (*path, n), written) for n, item in enumerate(value)]
    return written.get(path, value)
