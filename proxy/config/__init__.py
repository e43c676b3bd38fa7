"""The configuration file: YAML to one frozen tree, with every default, unit and check.

`parse(text)` gives a `Config` or raises `ConfigError` with *every* mistake at once. The way in is six steps:

    including  the main file and those that it includes, put together to one document
    text     YAML to plain data that knows its lines; `${NAME}` from the environment or a file
    types    each value read by its unit (`units`) or as a name (`names`), each section checked for its keys (`server`,
             `route`, `tree`)
    checks   what needs the neighbours: names that lead nowhere, plans that cannot end
    files    what is on this machine's disk: certificates that cannot be loaded, places that cannot be written to
    words    the plan as a person reads it, with warnings

Invariants
- An unknown key, a bad unit, a name that leads nowhere or a plan that can never end is a mistake, never a silent
  default.
- Nothing here touches the network, nothing but `files`, `including` and `${file:…}` the disk, and nothing that was
  filled in is ever part of a mistake or of `repr`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from proxy.config.admin import Admin
from proxy.config.checks import check
from proxy.config.files import check_files
from proxy.config.guards import Guards
from proxy.config.including import ConfigTexts
from proxy.config.json_schema import schema
from proxy.config.reading import read_tree
from proxy.config.record import Record
from proxy.config.route import Fallback, Mirror, PredictionConfig, RolloutConfig, RouteConfig
from proxy.config.server import Server, UpstreamConfig, Webhook
from proxy.config.text import Document, NoEnvironment
from proxy.config.tree import Config
from proxy.errors import ConfigError, Mistake

__all__ = [
    "Admin", "Config", "Fallback", "Guards", "Mirror", "PredictionConfig", "Record", "RolloutConfig", "RouteConfig",
    "Server", "UpstreamConfig", "Webhook", "build", "load", "look_through", "parse", "schema",
]  # fmt: skip


def parse(
    text: str,
    source: str = "configuration",
    *,
    directory: str | Path = ".",
    environ: Mapping[str, str] | None = None,
    files: bool = False,
) -> Config:
    """The configuration in `text`; raises `ConfigError` with every mistake.

    `source` is what errors call the file, and what its store is named after; `directory` where its relative paths
    start, `environ` what `${NAME}` is taken from (the process's environment when absent). With `files` the certificates
    that it names must be there, and what it writes to must be writable.

    >>> config = parse("upstreams: {m1: {url: 'http://127.0.0.1:9001'}}\\nroutes: [{name: all, live: m1}]")
    >>> config.upstreams["m1"].timeout
    30.0
    """
    given = os.environ if environ is None else environ
    return build(ConfigTexts.gather(text, source, Path(directory), given).document(given), source, files=files)


def build(document: Document, source: str, *, files: bool = False) -> Config:
    """The configuration that a document holds; raises `ConfigError` as `parse` does."""
    config, broken = read_tree(document, document.directory, _stem(source))
    if config is not None:
        blame = check(config, document, broken)
        if files:
            check_files(config, blame)
    if document.mistakes or config is None:
        raise ConfigError(_in_order(document), source)
    return config


def _in_order(document: Document) -> list[Mistake]:
    """The main file's mistakes first, then each file's, by line."""
    files = {file: n for n, file in enumerate(document.files)}
    return sorted(document.mistakes, key=lambda mistake: (files[mistake.file], mistake.line))


def _stem(source: str) -> str:
    """The name of a file without its ending; `understudy` where the text comes from no file.

    >>> _stem("config/quickstart.yaml"), _stem("configuration")
    ('quickstart', 'understudy')
    """
    path = Path(source)
    return path.stem if path.suffix else "understudy"


def look_through(path: str | Path) -> tuple[Config, tuple[str, ...]]:
    """The configuration in a file without its environment and the disk of the machine where it runs, and the paths of
    the values that these would give (placeholders stand for them); raises as `load` does."""
    document = ConfigTexts.load(Path(path), NoEnvironment()).document(NoEnvironment())
    for one in document.unfilled:
        if one[0] == "include":
            hint = "with a default, as `${TEAMS:-teams}`, it is"
            document.blame(one, f"which files {document.secret[one]} fits is not known without the environment", hint)
    config = build(document, str(path))
    return config, tuple(document.place(one, ()) for one in sorted(document.unfilled, key=document.order))


def load(path: str | Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file, with what it names on the disk; raises `ConfigError` and `OSError`."""
    given = os.environ if environ is None else environ
    return build(ConfigTexts.load(Path(path), given).document(given), str(path), files=True)
