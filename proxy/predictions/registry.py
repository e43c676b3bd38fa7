"""Every protocol there is, found by walking the files of `protocols/`: each that has `PROTOCOLS` brings its own.

A protocol is one file; nothing else in the package knows one by its name. Each is a function from a spec and an answer
to a `Tensor`, and one that recognises it, for `protocol: auto` (`protocol.Protocol`).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from proxy.model.reasons import Reason
from proxy.predictions import protocols
from proxy.predictions.message import Message
from proxy.predictions.protocol import Protocol
from proxy.predictions.unreadable import Unreadable

AUTO = "auto"
NONE = "none"
"""The name for a route whose answers are not to be read: latency and errors are judged, values are not."""


def _found() -> dict[str, Protocol]:
    modules = [import_module(f"{protocols.__name__}.{info.name}") for info in iter_modules(protocols.__path__)]
    known: list[Protocol] = [protocol for module in modules for protocol in getattr(module, "PROTOCOLS", ())]
    found = {protocol.name: protocol for protocol in sorted(known, key=lambda protocol: protocol.place)}
    if len(found) != len(known):
        raise RuntimeError(f"two protocols have one name: {sorted(protocol.name for protocol in known)}")
    if len({protocol.place for protocol in known}) != len(known):
        places = sorted((protocol.place, protocol.name) for protocol in known)
        raise RuntimeError(f"two protocols have one place: {places}")
    return found


PROTOCOLS = _found()
"""Every protocol that can be read, in the order in which `auto` tries them."""


def recognised(target: str, answer: Message) -> Protocol:
    """The protocol of an answer to a request for `target`; raises `Unreadable` when none fits."""
    for protocol in PROTOCOLS.values():
        if protocol.recognise(target, answer):
            return protocol
    raise Unreadable(Reason.UNKNOWN_PROTOCOL, f"no known protocol fits this answer to {target[:80] or 'a request'}")
