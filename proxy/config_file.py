"""The configuration's files as they were last read: what the supervisor knows of them, and what it tells its children.

It is read in a process of its own (`config_reader`), which needs pydantic, YAML and all that the
guards import. What comes back is plain values: they are sent on as they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from proxy import __version__
from proxy.config_watch import WatchedFiles
from proxy.errors import ConfigError, Mistake
from proxy.pairs import link
from proxy.pairs.link import Frame

UNREADABLE = 2
"""Exit code of the process that reads the files when there is nothing to be read; it says why on standard error."""


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """What the supervisor itself needs of a configuration; durations in seconds.

    `store` is the file's path, `None` for one in PostgreSQL; `fixed` what cannot change while it runs, by key.
    """

    listen: str
    grpc_listen: str | None
    workers: int | str
    admin_listen: str
    store: str | None
    drain: float
    drain_delay: float
    controller_lost: float
    watch: float | None
    log_format: str
    log_level: str
    fixed: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file and those that it includes, and what that means to each process. `texts` is what stood in them, for the
    controller; `workers` what follows from it for a worker (`model/worker_config.py`), `hash` its fingerprint,
    `owners` each file with its owner (the main one has none)."""

    texts: dict[str, Any]
    workers: str
    hash: str
    owners: tuple[tuple[str, str | None], ...]
    tree: TreeSettings

    def for_controller(self, generation: int) -> bytes:
        """CONFIG for the controller, which reads the texts itself."""
        return link.note(Frame.CONFIG, {"generation": generation, "hash": self.hash, **self.texts})

    def for_worker(self, generation: int) -> bytes:
        """CONFIG for a worker: what it needs of the file, so that it need not know how to read one."""
        return link.note(Frame.CONFIG, {"generation": generation, "config": orjson.Fragment(self.workers)})


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """What came of reading a file: what to look at to see that it has changed, and what it means or what is wrong."""

    watched: WatchedFiles
    meant: ConfigFile | ConfigError

    def file(self) -> ConfigFile:
        """What it means; raises `ConfigError`."""
        if isinstance(self.meant, ConfigError):
            raise self.meant
        return self.meant

    def dump(self) -> bytes:
        """As JSON, for the process that asked."""
        one, meant = self.watched, self.meant
        watched = [str(one.main), one.patterns, one.secrets, str(one.directory)]
        told: dict[str, Any] = {"version": __version__, "watched": watched}
        if isinstance(meant, ConfigError):
            told |= {"source": meant.source, "mistakes": [asdict(mistake) for mistake in meant.mistakes]}
        else:
            told["file"] = asdict(meant)
        return orjson.dumps(told)

    @classmethod
    def load(cls, data: bytes) -> ConfigRead:
        """What `dump` of this version gave; raises `ValueError` for that of another one, and this or `TypeError`,
        `LookupError` or `AttributeError` for anything else."""
        told = orjson.loads(data)
        if told["version"] != __version__:
            raise ValueError(f"it is version {told['version']}, and this is {__version__}")
        main, patterns, secrets, directory = told["watched"]
        watched = WatchedFiles(Path(main), tuple(patterns), tuple(secrets), Path(directory))
        if (file := told.get("file")) is None:
            return cls(watched, ConfigError([Mistake(**one) for one in told["mistakes"]], told["source"]))
        owners = tuple((name, owner) for name, owner in file["owners"])
        return cls(watched, ConfigFile(**{**file, "owners": owners, "tree": TreeSettings(**file["tree"])}))
