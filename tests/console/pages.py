"""Pages of the console in a real browser, and what they did beside being shown."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer

from proxy.controller.admin import application
from tests.console.scenes import SceneSurface
from tests.controller.fake_service import FakeSender

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = os.environ.get("UNDERSTUDY_SCREENSHOTS")
"""A folder to write screenshots for the documentation to."""
DEADLINE = 20_000
"""Milliseconds: a deadline, not a wait; a machine that does other things as well is slow to draw."""


class Seen:
    """What a page did beside being shown."""

    def __init__(self, page: Any, origin: str) -> None:
        self.problems: list[str] = []
        self.expected: list[str] = []
        """Parts of the browser's own notes that are no problem: it writes them when it likes, up to the page's end."""
        self.abroad: list[str] = []
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda r: None if r.url.startswith((origin, "data:")) else self.abroad.append(r.url))


@asynccontextmanager
async def visited(browser: Any, origin: str, **how: Any) -> AsyncIterator[tuple[Any, Seen]]:
    """A page that may open `origin`, and what else it did; there must be no error at the end, and nobody else asked."""
    context = await browser.new_context(**({"viewport": {"width": 1360, "height": 1000}} | how))
    page = await context.new_page()
    page.set_default_timeout(DEADLINE)
    seen = Seen(page, origin)
    yield page, seen
    await context.close()
    problems = [text for text in seen.problems if not any(part in text for part in seen.expected)]
    assert not problems, problems
    assert not seen.abroad, seen.abroad


async def shoot(page: Any, name: str, *, scroll: bool = True) -> None:
    """A picture of a page's top, or without `scroll` of where it stands."""
    if SHOTS:
        await page.mouse.move(0, 0)
        await asyncio.sleep(0.6)  # transitions
        if scroll:
            await page.evaluate("scrollTo(0, 0)")
        await page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


@asynccontextmanager
async def opened(browser: Any, service: SceneSurface, **how: Any) -> AsyncIterator[tuple[Any, str, Seen]]:
    """A page of the console over `service`, its origin, and what else it did; there must be no error at the end."""
    async with TestServer(application(service, FakeSender())) as server:
        origin = str(server.make_url("/"))
        async with visited(browser, origin, **how) as (page, seen):
            yield page, origin, seen
