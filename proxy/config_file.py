"""The configuration's files as they were last read, and as the processes of the tree are told of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from proxy.config import Config, build
from proxy.config.fingerprint import fingerprint
from proxy.config.for_workers import worker_config
from proxy.config.including import ConfigTexts
from proxy.config.text import Document
from proxy.config_watch import WatchedFiles
from proxy.pairs import link
from proxy.pairs.link import Frame


@dataclass(frozen=True)
class ConfigRead:
    """A file and those that it includes as they were read, whether they mean anything or not."""

    texts: ConfigTexts
    document: Document

    @classmethod
    def load(cls, path: Path) -> ConfigRead:
        """Read them; raises `OSError` and `UnicodeDecodeError` where the main file cannot be read."""
        texts = ConfigTexts.load(path, os.environ)
        return cls(texts, texts.document(os.environ))

    @property
    def watched(self) -> WatchedFiles:
        """What to look at to see that it has changed."""
        texts = self.texts
        return WatchedFiles(Path(texts.source), texts.patterns, self.document.secret_files, texts.directory)

    def meant(self) -> ConfigFile:
        """What it means; raises `ConfigError`."""
        texts, document = self.texts, self.document
        config = build(document, texts.source, files=True)
        owners = tuple((name or texts.source, document.owners.get(name)) for name in document.files)
        return ConfigFile(texts, config, fingerprint(document), owners)


@dataclass(frozen=True)
class ConfigFile:
    """A file and those that it includes, what stood in them, and what that means. `hash` is its fingerprint, `owners`
    each file with its owner (the main one has none)."""

    texts: ConfigTexts
    config: Config
    hash: str
    owners: tuple[tuple[str, str | None], ...]

    def for_controller(self, generation: int) -> bytes:
        """CONFIG for the controller, which reads the texts itself."""
        return link.note(Frame.CONFIG, {"generation": generation, "hash": self.hash, **self.texts.note()})

    def for_worker(self, generation: int) -> bytes:
        """CONFIG for a worker: what it needs of the file, so that it need not know how to read one."""
        return link.note(Frame.CONFIG, {"generation": generation, "config": self._of_workers})

    @cached_property
    def _of_workers(self) -> str:
        return worker_config(self.config).encode()
