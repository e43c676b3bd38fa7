"""Promise: the console says where a version comes from, with a link to its page in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.console.pages import CHROMIUM, DEADLINE, visited
from tests.e2e.harness import running, served
from tests.e2e.test_registry import SECRET, name, post, signed
from tests.ports import free_port
from tests.registry_world import NAME, Versions, config

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=2 * DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


async def test_a_version_of_a_registry_leads_to_its_page_there(browser: Any, tmp_path: Path) -> None:
    registry = {
        "http": {"secret": SECRET, "page": "https://registry.example/{model}/{version}"},
        "models": {"fraud model": {"upstream": "next"}},
    }
    versions = Versions("1", "2").app()
    async with served(versions) as models, running(tmp_path, config(models, free_port(), registry)) as it:
        await name(it, "2", "d-1")
        await it.until(NAME, lambda one: one["version"] == "2")
        async with visited(browser, it.admin_url) as (page, _):
            await page.goto(f"{it.admin_url}/#/{NAME}")
            line = page.locator(".lineage")
            await expect(line).to_contain_text("fraud model version 2 named by the model registry")
            await expect(line).to_contain_text("run run-1, data d@1")
            link = line.locator("a")
            await expect(link).to_have_attribute("href", "https://registry.example/fraud%20model/2")
            body = b'{"model": "fraud model", "version": "3", "run": "<img src=x onerror=alert(1)>"}'
            assert (await post(it, body, signed(body, "d-2")))[0] == 200
            await expect(line).to_contain_text("<img src=x onerror=alert(1)>")
            await expect(line.locator("img")).to_have_count(0)
