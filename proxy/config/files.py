"""What the configuration names on this machine's disk: certificates that can be loaded, places that can be written to.

Looked at before anything is started, so that a slip here ends `check` and the first `serve` with the file's name, and a
reload is refused, instead of a process that cannot start. Nothing is made or changed on the way.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path as File

from proxy.config.postgres_url import SYSTEM, PostgresTarget
from proxy.config.text import Path
from proxy.config.tree import Config

_Blame = Callable[[Path, str, str], None]

_DATABASE = b"SQLite format 3\0"  # how every SQLite file begins


def check_files(config: Config, blame: _Blame) -> None:
    """Blame every file that cannot be read or loaded, and every place where a file could not be written."""
    server = config.server.tls
    if server is not None:
        _pair(("server", "tls"), server.cert, server.key, blame)
        _authorities(("server", "tls", "client_ca"), server.client_ca, blame)
    for name, upstream in config.upstreams.items():
        if upstream.tls is not None:
            here: Path = ("upstreams", name, "tls")
            _authorities((*here, "ca"), upstream.tls.ca, blame)
            if upstream.tls.cert is not None and upstream.tls.key is not None:
                _pair(here, upstream.tls.cert, upstream.tls.key, blame)
    if config.store.url is not None and (target := config.store.url.known()) is not None:
        _database(target, blame)
    if config.fleet is not None and config.fleet.tls is not None:
        fleet: Path = ("fleet", "tls")
        _pair(fleet, config.fleet.tls.cert, config.fleet.tls.key, blame)
        _authorities((*fleet, "ca"), config.fleet.tls.ca, blame)
    for path, file in _written(config):
        problem = unwritable(File(file))
        if problem:
            blame(path, problem, "")
    if config.store.url is None and _somebody_elses(File(config.store.path)):
        blame(("store", "path"), f"{config.store.path} exists and is not a store", "")


def _written(config: Config) -> Iterator[tuple[Path, str]]:
    """Every file that a process will write."""
    if config.store.url is None:
        yield ("store", "path"), config.store.path
    if config.log.access is not None and config.log.access.path is not None:
        yield ("log", "access", "path"), config.log.access.path
    for n, route in enumerate(config.routes):
        for m, rollout in enumerate(route.rollouts):
            if rollout.record is not None:
                yield ("routes", n, "rollouts", m, "record", "path"), rollout.record.path


def _database(target: PostgresTarget, blame: _Blame) -> None:
    """The certificates that a URL of PostgreSQL names."""
    here: Path = ("store", "url")
    _authorities(here, target.sslrootcert if target.sslrootcert not in ("", SYSTEM) else None, blame)
    if target.sslcert:
        problems = [unreadable(file) for file in (target.sslcert, target.sslkey or target.sslcert)]
        for problem in filter(None, problems):
            blame(here, problem, "")


def _somebody_elses(store: File) -> bool:
    """Whether a slip made a file that never was a store into one: it would be put aside for a new store.

    A store that went bad has its lock beside it, and is put aside: models are served without it too.
    """
    try:
        if not store.is_file() or File(f"{store}.lock").exists():
            return False
        with store.open("rb") as opened:
            return opened.read(len(_DATABASE)) not in (b"", _DATABASE)
    except OSError:  # what cannot be read has been blamed
        return False


def _pair(path: Path, cert: str, key: str, blame: _Blame) -> None:
    """A certificate chain and its private key."""
    problems = [((*path, name), unreadable(file)) for name, file in (("cert", cert), ("key", key))]
    if any(problem for _, problem in problems):
        for at, problem in problems:
            if problem:
                blame(at, problem, "")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        whose, problem = _which(error, cert, key)
        blame((*path, whose), problem, "")


def _which(error: ssl.SSLError, cert: str, key: str) -> tuple[str, str]:
    """Whose fault it is that a certificate and its key could not be loaded: OpenSSL does not say which file."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return "key", f"{key} is not the key of {cert}"
    if not _is_certificate(cert):
        return "cert", f"{cert} is not a PEM certificate"
    if "ENCRYPTED" in File(key).read_text("latin-1"):
        return "key", f"{key} is encrypted, and no password can be entered"
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
        return "cert", f"{cert} is too weak for this machine's OpenSSL ({error.reason})"
    return "key", f"{key} is not a PEM private key"


def _authorities(path: Path, file: str | None, blame: _Blame) -> None:
    if file is None:
        return
    problem = unreadable(file) or ("" if _is_certificate(file) else f"{file} contains no PEM certificate")
    if problem:
        blame(path, problem, "")


def _is_certificate(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _no_password() -> str:
    """Instead of asking on the terminal."""
    return ""


def unreadable(file: str) -> str:
    """Why a file cannot be read, or nothing."""
    try:
        with open(file, "rb") as opened:
            opened.read(1)
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    return ""


def unwritable(file: File) -> str:
    """Why a file could not be written, or nothing; neither it nor its folders need be there yet.

    >>> unwritable(File("/dev/null/state/understudy.db"))
    'cannot write /dev/null/state/understudy.db: /dev/null is not a directory'
    """
    try:
        if file.exists() and not file.is_file():
            return f"cannot write {file}: it is not a regular file"
        place = file if file.exists() else next(parent for parent in file.parents if parent.exists())
    except OSError as error:
        return f"cannot write {file}: {error.strerror}"
    if place != file and not place.is_dir():
        return f"cannot write {file}: {place} is not a directory"
    needed = os.R_OK | os.W_OK if place == file else os.W_OK | os.X_OK
    return "" if os.access(place, needed) else f"cannot write {file}: {place} is read-only"
