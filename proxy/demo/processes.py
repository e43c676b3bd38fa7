"""The demo's child processes: started on a leash, their output kept in files, all gone at the end.

`Troupe` is used as `async with`; however the block ends, every child has ended when it returns.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType

from proxy.demo import leash


class ChildError(Exception):
    """A child did not do what it was started for; the text holds the end of its output."""


def free_port() -> int:
    """A loopback port that is free now; whoever binds it next may still be too late, so bind it soon."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class DemoProcess:
    """One command on a leash, with its output in `log`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self._process, self._log = name, process, log

    def output(self, lines: int = 20) -> str:
        """The last lines of what it wrote."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    async def until(self, done: Callable[[], Awaitable[bool]], within: float) -> None:
        """Return as soon as `done()`; raises `ChildError` if it ends before that or `within` seconds run out."""
        try:
            async with asyncio.timeout(within):
                while not await done():
                    if self.ended:
                        raise ChildError(f"{self.name} ended with {self._process.returncode}:\n{self.output()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise ChildError(f"{self.name} was not ready after {within:g} s:\n{self.output()}") from None

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.returncode is not None

    async def stop(self) -> int:
        """Let go of the leash and wait for the end; gives the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(leash.PATIENCE + 5):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()


class Troupe:
    """All child processes of one demo; their output goes to files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[DemoProcess] = []

    async def __aenter__(self) -> Troupe:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a second Ctrl-C while we clean up must not leave half of the children behind.
        await asyncio.shield(asyncio.gather(*(child.stop() for child in reversed(self._children))))

    async def start(
        self, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> DemoProcess:
        """Start `python -m MODULE ARGUMENTS…` in a session of its own, so that Ctrl-C reaches only us."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", leash.__file__, sys.executable, "-m", module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        child = DemoProcess(name, process, log)
        self._children.append(child)
        return child

    async def start_model(self, name: str, model: Path, *flags: str) -> str:
        """Start a model server; gives its URL once it can answer; raises `ChildError`."""
        return await self.start_server(name, "proxy.demo.model_server", "--model", str(model), "--name", name, *flags)

    async def start_server(self, name: str, module: str, *arguments: str) -> str:
        """Start a server that says `listening PORT` once it can answer; gives its URL; raises `ChildError`."""
        child = await self.start(name, module, *arguments)

        async def listening() -> bool:
            return child.output().startswith("listening ")

        await child.until(listening, within=60)
        return f"http://127.0.0.1:{child.output().split()[1]}"

    def check(self) -> None:
        """Raise `ChildError` when a child has ended before its time."""
        for child in self._children:
            if child.ended:
                raise ChildError(f"{child.name} has ended unexpectedly:\n{child.output()}")
