"""Keeps what a registry has said of upstreams' versions, and gives a configuration the versions that hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from proxy.config import Config
from proxy.controller.model_registry.versions import (
    KnownVersion,
    VersionWord,
    decide,
    dump_versions,
    in_force,
    load_versions,
)
from proxy.errors import StoreError
from proxy.model.lineage import Lineage

MOST_DELIVERIES = 1000
REMEMBERED = 3 * 86400.0
"""Deliveries that are remembered, and for how many seconds: longer than a sender tries again."""


class RegistryStore(Protocol):
    """What is needed of the store; all of it may raise `StoreError`."""

    async def keep_registry(self, said: dict[str, Any]) -> None: ...
    async def registry(self) -> dict[str, Any]: ...


class VersionUser(Protocol):
    """The controller, as far as it is needed here. `reloading` is held while its configuration changes."""

    config: Config
    reloading: asyncio.Lock

    async def apply(self, lost: str = "") -> None: ...
    def spawn(self, work: Coroutine[Any, Any, Any]) -> None: ...


class VersionKeeper:
    """What is said is saved before anything comes of it, so that neither a crash nor a new leader forgets it."""

    def __init__(
        self, store: RegistryStore, user: VersionUser, file: Config, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._user, self._file, self._clock = store, user, file, clock
        self._lost = ""  # why it is not known what was tried before
        self.known: dict[str, KnownVersion] = {}
        self._deliveries: dict[str, float] = {}

    async def take_up(self, lost: str = "") -> None:
        """Go on where the last controller was; `lost` says why it is not known where that was. Raises `StoreError`."""
        try:
            self.known, self._deliveries = load_versions(await self._store.registry())
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise StoreError(f"what model registries said cannot be read: {error!r}") from error
        self._lost = lost
        await self.read(self._file)

    async def read(self, file: Config) -> None:
        """Take this file: its configuration is in force, with the versions that hold."""
        self._file, before = file, self.known
        self.known = self.known | {name: known for name, (known, _) in self._held(file).items() if known is not None}
        self._user.config = self.filled(file)
        if self.known != before:  # the file has replaced one
            with suppress(StoreError):  # logged and counted; it is saved with what is said next
                await self.keep()

    def filled(self, file: Config) -> Config:
        """A file's configuration with the versions that would hold."""
        return file.with_versions({name: version for name, (_, version) in self._held(file).items() if version})

    def _held(self, file: Config) -> dict[str, tuple[KnownVersion | None, str | Lineage]]:
        return {name: in_force(self.known.get(name), _of_file(file, name)) for name in file.registered}

    async def keep(self) -> None:
        """Save what is known. Raises `StoreError`."""
        await self._store.keep_registry(dump_versions(self.known, self._deliveries))

    def has_seen(self, delivery: str) -> bool:
        """Whether a delivery came before."""
        return delivery in self._deliveries

    async def name(self, upstream: str, word: VersionWord, *, standing: bool, delivery: str = "") -> str:
        """Take a word that came as `delivery` (empty: as an answer); what it was (`versions.decide`). Saved when this
        returns, and its trial is about to begin; raises `StoreError`, and then nothing has changed."""
        async with self._user.reloading:
            was = self.known.get(upstream)
            known, what = decide(was, word, _of_file(self._file, upstream), standing)
            if known != was or delivery:
                await self._changed(upstream, known, delivery)
            if known is not None and known.lineage != (was.lineage if was is not None else None):
                self._user.spawn(self._apply("" if word.news else self._lost))
            return what

    async def _changed(self, upstream: str, known: KnownVersion | None, delivery: str) -> None:
        before, now = (self.known, self._deliveries), self._clock()
        if known is not None:
            self.known = {**self.known, upstream: known}
        if delivery:
            recent = [(name, at) for name, at in self._deliveries.items() if now - at <= REMEMBERED]
            self._deliveries = dict([*recent, (delivery, now)][-MOST_DELIVERIES:])
        try:
            await self.keep()
        except StoreError:
            self.known, self._deliveries = before
            raise

    async def _apply(self, lost: str) -> None:
        async with self._user.reloading:
            self._user.config = self.filled(self._file)
            await self._user.apply(lost)


def _of_file(config: Config, upstream: str) -> str:
    """The version that the file names; empty where it names none."""
    return config.upstreams[upstream].version or ""
