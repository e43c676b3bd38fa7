"""`python -m proxy.config_reader FILE`: reads a configuration and prints what the supervisor needs of it
(`ConfigRead`) as JSON; what cannot be read at all goes to standard error, with exit code 2."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from proxy.answers import give, own_output
from proxy.config import Config, build
from proxy.config.fingerprint import fingerprint
from proxy.config.for_workers import worker_config
from proxy.config.including import ConfigTexts
from proxy.config.text import Document
from proxy.config_file import UNREADABLE, ConfigFile, ConfigRead, TreeSettings
from proxy.config_watch import WatchedFiles
from proxy.errors import ConfigError


def read_file(path: Path) -> ConfigRead:
    """A file and what it includes; raises `OSError` and `UnicodeDecodeError` where the main one cannot be read."""
    texts = ConfigTexts.load(path, os.environ)
    document = texts.document(os.environ)
    watched = WatchedFiles(Path(texts.source), texts.patterns, document.secret_files, texts.directory)
    try:
        return ConfigRead(watched, _meant(texts, document, build(document, texts.source, files=True)))
    except ConfigError as mistakes:
        return ConfigRead(watched, mistakes)


def _meant(texts: ConfigTexts, document: Document, config: Config) -> ConfigFile:
    owners = tuple((name or texts.source, document.owners.get(name)) for name in document.files)
    workers = worker_config(config).encode().decode()
    return ConfigFile(texts.note(), workers, fingerprint(document), owners, tree_settings(config))


def tree_settings(config: Config) -> TreeSettings:
    """What the supervisor needs of a configuration."""
    server, log = config.server, config.log
    return TreeSettings(
        server.listen,
        server.grpc_listen,
        server.workers,
        config.admin.listen,
        str(config.store.path) if config.store.url is None else None,
        server.timeouts.drain,
        server.timeouts.drain_delay,
        server.controller_lost,
        server.watch,
        log.format,
        log.level,
        fixed(config),
    )


def fixed(config: Config) -> dict[str, Any]:
    """What cannot change while the sockets and the store are in use, by key."""
    return {
        "server.listen": config.server.listen,
        "server.tls": config.server.tls is None,
        "server.workers": config.server.workers,
        "server.grpc_listen": config.server.grpc_listen,
        "admin.listen": config.admin.listen,
        "store": [config.store.path, config.store.url.template if config.store.url is not None else None],
        "fleet": config.fleet.model_dump(mode="json") if config.fleet is not None else None,
    }


def main(path: Path) -> int:
    """Read the file for the process that asks, and answer it; the exit code."""
    output = own_output()
    try:
        read = read_file(path)
    except (OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor reads it
        return UNREADABLE
    give(output, read.dump())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
