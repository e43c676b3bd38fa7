"""Configuration files as workers get them."""

from __future__ import annotations

from pathlib import Path

import orjson

from proxy.config import parse
from proxy.config.for_workers import worker_config
from proxy.model.worker_config import WorkerConfig
from proxy.pairs import link
from proxy.pairs.link import Frame


def for_worker(text: str, directory: str | Path = ".") -> WorkerConfig:
    """A configuration file as a worker gets it."""
    return worker_config(parse(text, directory=directory))


def config_frame(generation: int, text: str, directory: str | Path = ".") -> bytes:
    """A configuration file as the supervisor sends it to a worker."""
    config = orjson.Fragment(for_worker(text, directory).encode())
    return link.note(Frame.CONFIG, {"generation": generation, "config": config})
