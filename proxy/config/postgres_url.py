"""`store.url`: where PostgreSQL is, read as libpq reads its URLs, word by word.

No word is passed on to the driver unread: one that it does not know it hands to the server as a setting, and a few mean
something else there (`tcp_user_timeout`). What cannot be kept is refused by name.

Invariants
- Nothing of the URL but hosts, user and database is ever shown.
- What stands in a file or in the environment (a password) is read again for each connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, unquote

from proxy.config.text import filled
from proxy.units import Unfit

PORT = 5432
MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
"""`sslmode`, the least first; only the last two know whom they talk to, only the last one by name."""

_LOOKS = "a URL as `postgresql://USER@HOST/DATABASE`"
_PLACES = re.compile(r"(\$\{[^}]*\})")
SYSTEM = "system"
"""As `sslrootcert`: the authorities that this machine trusts; also without that word."""
_SCHEME = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_OURS = "set by Understudy itself, since its lease depends on it"
_ONE_WAY = "not supported"
REFUSED = {
    **dict.fromkeys(
        (
            "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "options",
            "client_encoding", "replication", "fallback_application_name",
        ),
        _OURS,
    ),
    **dict.fromkeys(
        (
            "service", "servicefile", "hostaddr", "passfile", "channel_binding", "gssencmode", "krbsrvname", "gsslib",
            "gssdelegation", "require_auth", "requirepeer", "sslcompression", "sslcrl", "sslcrldir", "sslpassword",
            "sslnegotiation", "sslcertmode", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
            "load_balance_hosts",
        ),
        _ONE_WAY,
    ),
}  # fmt: skip
"""Words of libpq that a URL may not have, and why."""


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """Where a store is and who asks. `hosts` are tried in order; one that begins with `/` is the folder of a Unix
    socket. `seconds` is what one host may take to connect."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    sslmode: str = "disable"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = ""
    application_name: str = "understudy"
    seconds: float = 2.0

    @property
    def shown(self) -> str:
        """The URL as it may be shown: no password, nothing that leads to one.

        >>> read_target("postgresql://me:secret@a,b:5433/state?sslmode=verify-full").shown
        'postgresql://me@a:5432,b:5433/state'
        """
        hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts)
        return f"postgresql://{self.user}@{hosts}/{self.database}"

    @property
    def local(self) -> bool:
        """Whether no byte leaves this machine."""
        return all(is_local(host) for host, _ in self.hosts)


class Unfilled(Unfit):
    """A URL that names a file or a variable that cannot be had."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL as it stands in the file, `${…}` not filled in; relative files in it start at `directory`."""

    template: str = field(repr=False)
    directory: Path = Path()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False, compare=False)

    def __str__(self) -> str:
        return "a URL"

    def target(self) -> PostgresTarget:
        """What it says now. Raises `Unfit`, which names a file or a variable that cannot be had."""
        problems: list[str] = []
        text = _filled_in(self.template, lambda part: filled(part, self.environ, problems.append, self.directory))
        if problems:
            raise Unfilled(f"what can be filled in: {'; '.join(problems)}")
        found = read_target(text)
        files = (self._beside(at) for at in (found.sslrootcert, found.sslcert, found.sslkey))
        root, cert, key = files
        return replace(found, sslrootcert=root, sslcert=cert, sslkey=key)

    def known(self) -> PostgresTarget | None:
        """What it says now; `None` where something in it cannot be filled in."""
        try:
            return self.target()
        except Unfilled:
            return None

    @property
    def shown(self) -> str:
        """What may be shown of it: no password, and only what it is where something cannot be filled in."""
        target = self.known()
        return target.shown if target is not None else "PostgreSQL"

    def _beside(self, file: str) -> str:
        return file if file in ("", SYSTEM) else str(self.directory / file)


def _filled_in(template: str, fill: Callable[[str], str]) -> str:
    """A URL with each `${…}` filled in: what stands for a user or a password may hold any letter.

    >>> _filled_in("postgresql://me:${PW}@${HOSTS}/state", {"${PW}": "a@b/c%41", "${HOSTS}": "a:1,b:2"}.get)
    'postgresql://me:a%40b%2Fc%2541@a:1,b:2/state'
    """
    parts = _PLACES.split(template)
    literal = [part if n % 2 == 0 else "" for n, part in enumerate(parts)]
    ends = max((n for n, part in enumerate(literal) if "@" in part), default=-1)
    whole = _SCHEME.match(template) is None
    return "".join(
        part if n % 2 == 0 else quote(fill(part), safe="") if n < ends and not whole else fill(part)
        for n, part in enumerate(parts)
    )


def read_store_url(value: object) -> StoreUrl:
    """A URL that can be read now; raises `Unfit`."""
    if not isinstance(value, StoreUrl):
        raise Unfit(_LOOKS)
    with suppress(Unfilled):  # has been blamed where the text was read
        value.target()
    return value


def is_store_url(text: str) -> bool:
    """Whether a text is a URL of PostgreSQL and no path.

    >>> is_store_url("postgresql://u@db/d"), is_store_url("state/understudy.db")
    (True, False)
    """
    return _SCHEME.match(text) is not None


def is_local(host: str) -> bool:
    """Whether a host is this machine: a loopback address, `localhost`, the folder of a Unix socket.

    >>> [is_local(host) for host in ("127.0.0.2", "::1", "localhost", "/run/postgresql", "db", "10.0.0.1")]
    [True, True, True, True, False, False]
    """
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_target(text: str) -> PostgresTarget:
    """What a URL says; raises `Unfit` saying which word cannot be, never quoting the rest.

    Without `sslmode` it is `verify-full`, on this machine `disable`. Without a database its name is the user's.

    >>> target = read_target("postgresql://understudy@%2Frun%2Fpostgresql/state")
    >>> target.hosts, target.sslmode
    ((('/run/postgresql', 5432),), 'disable')
    >>> read_target("postgresql://u@db/state?keepalives_idle=5")
    Traceback (most recent call last):
        ...
    proxy.units.Unfit: a URL without `keepalives_idle` (set by Understudy itself, since its lease depends on it)
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise Unfit(_LOOKS)
    place, _, query = text[scheme.end() :].partition("?")
    words = _words(query)
    who, _, place = place.rpartition("@")
    user, _, password = who.partition(":")
    hosts, _, database = place.partition("/")
    user, database = words.pop("user", unquote(user)), words.pop("dbname", unquote(database))
    if not user:
        raise Unfit(f"{_LOOKS}, with a user")
    found = _hosts(words.pop("host", hosts), words.pop("port", ""))
    local = all(is_local(host) for host, _ in found)
    read = {name: reader(name, words.pop(name)) for name, reader in _READERS.items() if name in words}
    if words:
        name = next(iter(words))
        raise Unfit(f"a URL without `{name}` ({REFUSED.get(name, 'no word of libpq')})")
    seconds = float(read.pop("connect_timeout", 2))
    read.pop("target_session_attrs", None)
    return PostgresTarget(
        hosts=found,
        user=user,
        database=database or user,
        password=read.pop("password", "") or unquote(password) or None,
        seconds=seconds,
        **{"sslmode": "disable" if local else "verify-full", **read},
    )


def _words(query: str) -> dict[str, str]:
    """The part behind `?`."""
    parts = [part.partition("=") for part in query.split("&") if part]
    pairs = [(unquote(name), unquote(value)) for name, _, value in parts]  # a `+` is no space here
    twice = next((name for n, (name, _) in enumerate(pairs) if name in dict(pairs[:n])), None)
    if twice is not None:
        raise Unfit(f"`{twice}` in the URL once")
    return dict(pairs)


def _hosts(text: str, ports: str) -> tuple[tuple[str, int], ...]:
    """`HOST[:PORT],…`, with ports of their own in `ports` where the word `port` is used."""
    if not text:
        raise Unfit(f"{_LOOKS}, with a host")
    spare = ports.split(",") if ports else [str(PORT)]
    names = text.split(",")
    if len(spare) not in (1, len(names)):
        raise Unfit(f"as many ports as hosts in the URL ({len(names)})")
    given = spare * len(names) if len(spare) == 1 else spare
    return tuple(_host(name, port) for name, port in zip(names, given, strict=True))


def _host(text: str, spare: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[^:]*))?", text)
    if found is None:
        raise Unfit("hosts in the URL as HOST, HOST:PORT or [ADDRESS]:PORT, with commas between")
    port = found["port"] or spare
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise Unfit("ports in the URL from 1 to 65535")
    return found["six"] or unquote(found["name"]), int(port)


def _as_it_is(_: str, value: str) -> str:
    return value


def _mode(_: str, value: str) -> str:
    if value not in MODES:
        raise Unfit(f"`sslmode` in the URL to be one of {', '.join(MODES)}")
    return value


def _primary(_: str, value: str) -> str:
    if value not in ("read-write", "primary"):
        raise Unfit("a URL without `target_session_attrs` (the primary is always looked for)")
    return value


def _seconds(_: str, value: str) -> str:
    if not value.isdecimal() or not 1 <= int(value) <= 10:
        raise Unfit("`connect_timeout` in the URL from 1 to 10 seconds")
    return value


_READERS: Mapping[str, Callable[[str, str], str]] = {
    "password": _as_it_is,
    "sslmode": _mode,
    "sslrootcert": _as_it_is,
    "sslcert": _as_it_is,
    "sslkey": _as_it_is,
    "application_name": _as_it_is,
    "connect_timeout": _seconds,
    "target_session_attrs": _primary,
}
