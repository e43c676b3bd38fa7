"""A controller at work, with what people and receivers see of it: the admin port's API, the sender of its webhooks.

The one controller of a machine has this for life; a replica of a fleet for as long as it leads.
"""

from __future__ import annotations

import socket
from pathlib import Path

from proxy.config import Config
from proxy.controller import admin
from proxy.controller.controller import Controller
from proxy.controller.model_registry.endpoint import delivery_endpoints
from proxy.controller.service import ControllerService
from proxy.controller.supervisor_link import SupervisorLink
from proxy.controller.webhooks.outbox import Sender

ADMIN_DRAIN = 1.0
"""Seconds that requests to the admin API may take to finish at the end."""


class Leading:
    """The listening socket is the caller's, before and after."""

    def __init__(self, controller: Controller, supervisor: SupervisorLink) -> None:
        self.controller, self._supervisor = controller, supervisor
        self.service = ControllerService(controller, supervisor)
        self._sender = Sender(self.service, endpoints=delivery_endpoints)
        self.port: admin.Port | None = None
        """The admin port, once it is open."""

    async def start(self, runtime: Path, listener: socket.socket) -> None:
        """Take up what is saved, listen to workers and people, send. Raises `StoreError` when it cannot be read."""
        self.controller.admin_port = listener.getsockname()[1]
        await self.controller.start(runtime)
        self.service.tree(self._supervisor.tree)
        self.port = admin.Port(admin.application(self.service, self._sender), ADMIN_DRAIN, self.controller.config.admin)
        await self.port.start(listener.dup())
        self._sender.start()
        self.service.follower.start()

    def tree(self) -> None:
        """The supervisor has told which processes there are."""
        self.service.tree(self._supervisor.tree)

    async def reload(self, config: Config, config_hash: str, generation: int) -> str:
        """Take a new configuration; empty, or why it cannot be taken, and then nothing has changed."""
        error = await self.controller.reload(config, config_hash, generation)
        if self.port is not None:
            self.port.admin = self.controller.config.admin
        return error

    async def stop(self) -> None:
        """Judge and save what is in hand, and end."""
        self._supervisor.draining = True
        await self._close()
        await self.controller.stop()

    async def depose(self) -> None:
        """End at once: another leads. Nothing is judged, told, saved or sent any more."""
        await self.controller.depose()
        await self._close()

    async def _close(self) -> None:
        await self.service.follower.stop()
        await self._sender.stop()
        if self.port is not None:
            await self.port.close()
