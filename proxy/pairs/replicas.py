"""What the replicas of a fleet say to each other, beside the frames of their workers.

A standby opens TCP connections to the leader. Each begins with REPLICA, which the leader answers with WELCOME; then

    replica        PING from the leader, PONG back; REPLICA again when something of it has changed; GOODBYE at the end
    pairs, tables  the frames of one worker's link as on the Unix socket; on `pairs` PING and PONG too, behind the pairs

so there is one `replica` connection for each standby, and two for each of its workers.

- REPLICA `{"name", "boot", "link", "link_version", "address", "version", "config_hash", "workers", "term_seen"}`:
  `boot` is new with each process, `workers` the process list `[[slot, pid or null]]`. Links of workers carry the first
  four.
- WELCOME `{"name", "term", "link_version", "refused"}`: whoever is refused is told why, and the connection ends.
- PING is the leader's time, PONG repeats it and adds when the PING came and when this was written (epoch seconds of
  the standby).
- GOODBYE has no payload: this replica ends, and its workers have ended.

Link versions: neighbours work together, so that a fleet can be upgraded one by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from proxy.pairs import link
from proxy.pairs.link import Frame, LinkError

LINK_VERSION = 1

LINKS = ("replica", "pairs", "tables")

MAX_NAME = 253
"""Characters of a replica's name: a host name at most."""

_PING = struct.Struct("<d")
_PONG = struct.Struct("<ddd")


@dataclass(frozen=True, slots=True)
class ReplicaHello:
    """What a replica says of itself. `workers` are (slot, pid), pid `None` where none runs now; `term_seen` is the
    highest term that it knows of."""

    name: str
    boot: str
    link: str = "replica"
    link_version: int = LINK_VERSION
    address: str = ""
    version: str = ""
    config_hash: str = ""
    workers: tuple[tuple[int, int | None], ...] = ()
    term_seen: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The leader's answer; `refused` says why not, and is empty where it is a yes."""

    name: str
    term: int
    link_version: int = LINK_VERSION
    refused: str = ""


def neighbours(version: int) -> bool:
    """Whether this link version is spoken here.

    >>> neighbours(LINK_VERSION), neighbours(LINK_VERSION + 1), neighbours(LINK_VERSION + 2)
    (True, True, False)
    """
    return abs(version - LINK_VERSION) <= 1


def encode_hello(hello: ReplicaHello) -> bytes:
    """A REPLICA frame."""
    return link.note(Frame.REPLICA, hello)


def decode_hello(payload: bytes) -> ReplicaHello:
    """What a REPLICA frame says; raises `LinkError`. Keys that are not known are a newer neighbour's, and left out.

    >>> decode_hello(encode_hello(ReplicaHello("a", "b"))[5:]).name
    'a'
    """
    note = link.read_note(payload)
    try:
        workers = tuple((int(slot), None if pid is None else int(pid)) for slot, pid in note.get("workers", ()))
        hello = ReplicaHello(
            _text(note, "name"), _text(note, "boot"), _text(note, "link"), int(note["link_version"]),
            str(note.get("address", "")), str(note.get("version", "")), str(note.get("config_hash", "")),
            workers, int(note.get("term_seen", 0)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise LinkError(f"not a replica's hello: {error!r}") from None
    if hello.link not in LINKS or "/" in hello.name or len(hello.name) > MAX_NAME:
        raise LinkError(f"not a replica's hello: link {hello.link!r} of {hello.name[:MAX_NAME]!r}")
    return hello


def _text(note: dict[str, Any], key: str) -> str:
    value = note[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {value!r}, expected text")
    return value


def encode_welcome(welcome: Welcome) -> bytes:
    """A WELCOME frame."""
    return link.note(Frame.WELCOME, welcome)


def decode_welcome(payload: bytes) -> Welcome:
    """The leader's answer; raises `LinkError`.

    >>> decode_welcome(encode_welcome(Welcome("a", 3, refused="full"))[5:])
    Welcome(name='a', term=3, link_version=1, refused='full')
    """
    note = link.read_note(payload)
    try:
        return Welcome(str(note["name"]), int(note["term"]), int(note["link_version"]), str(note.get("refused", "")))
    except (KeyError, TypeError, ValueError) as error:
        raise LinkError(f"not a welcome: {error!r}") from None


def encode_ping(sent: float) -> bytes:
    """A PING frame, written at `sent` (epoch seconds of the leader)."""
    return link.frame(Frame.PING, _PING.pack(sent))


def encode_pong(ping: bytes, came: float, sent: float) -> bytes:
    """The PONG to a PING's payload, which came and is answered at these epoch seconds; raises `LinkError`."""
    if len(ping) != _PING.size:
        raise LinkError(f"not a ping: {len(ping)} bytes")
    return link.frame(Frame.PONG, _PONG.pack(_PING.unpack(ping)[0], came, sent))


def decode_pong(payload: bytes) -> tuple[float, float, float]:
    """When the PING was sent, when it came and when it was answered; raises `LinkError`.

    >>> decode_pong(encode_pong(encode_ping(1.0)[5:], 2.0, 3.0)[5:])
    (1.0, 2.0, 3.0)
    """
    try:
        sent, came, answered = _PONG.unpack(payload)
    except struct.error as error:
        raise LinkError(f"not a pong: {error}") from None
    return sent, came, answered
