"""The configuration file as it was last read, and as the processes of the tree are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxy.config import Config, parse
from proxy.config.for_workers import worker_config
from proxy.pairs import link
from proxy.pairs.link import Frame


@dataclass(frozen=True)
class ConfigFile:
    """A file, what stood in it, and what that means."""

    path: Path
    text: str
    config: Config

    @classmethod
    def load(cls, path: Path) -> ConfigFile:
        """Read a file; raises `ConfigError`, `OSError` and `UnicodeDecodeError`."""
        text = path.read_text(encoding="utf-8")
        return cls(path, text, parse(text, source=str(path), directory=path.resolve().parent, files=True))

    def for_controller(self, generation: int) -> bytes:
        """CONFIG for the controller, which reads the file itself: it keeps and compares its text."""
        where = {"source": str(self.path), "directory": str(self.path.resolve().parent)}
        return link.note(Frame.CONFIG, {"generation": generation, "text": self.text, **where})

    def for_worker(self, generation: int) -> bytes:
        """CONFIG for a worker: what it needs of the file, so that it need not know how to read one."""
        return link.note(Frame.CONFIG, {"generation": generation, "config": worker_config(self.config).encode()})
