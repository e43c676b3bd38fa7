"""Promise: what the console shows of a real proxy with real traffic is what happens: from shadow to a rollback that
nobody asked for, and an abort by button that takes the traffic away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.console.pages import CHROMIUM, DEADLINE, visited
from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process, set_mood

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=2 * DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

STAGES = [{"shadow": "100%", "min_pairs": 100}, {"canary": "50%", "min_pairs": 1_000_000}]
GUARDS = {"max_disagreement": "5%", "max_extra_errors": "20%"}


def rules() -> dict[str, Any]:
    """A route whose requests could name a segment; none of them does."""
    return route("r", "old", "new", STAGES, guards=GUARDS) | {"segments": {"header": "x-tenant", "top": 5}}


async def served_by(understudy: Understudy, load: Load, name: str, count: int) -> int:
    """How many of the next `count` answers come from `name`."""
    since = len(load.seen)
    await load.more(count)
    return load.by(name, since)


async def test_a_candidate_climbs_and_is_rolled_back_before_the_viewers_eyes(browser: Any, tmp_path: Path) -> None:
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        config = {"upstreams": {"old": {"url": old}, "new": {"url": new}}, "routes": [rules()]}
        async with (
            running(tmp_path, config) as understudy,
            visited(browser, understudy.admin_url) as (page, _),
        ):
            await page.goto(understudy.admin_url)
            await expect(page.locator(".rollout")).to_contain_text("r/new")
            await page.get_by_role("link", name="r/new").click()
            here = page.locator("[aria-current=step]")
            await expect(here).to_have_text("shadow")
            await expect(page.locator(".hint")).to_contain_text("No request has come to this route yet")
            async with Load(f"{understudy.data_url}/r/infer", 100.0) as load:
                await expect(here).to_have_text("canary 50 %")
                await expect(page.locator(".hint")).to_have_count(0)
                await expect(page.locator(".guard")).to_have_count(len(GUARDS))
                await expect(page.get_by_role("group", name="segments")).to_contain_text("(none)")
                await expect(page.locator(".need", has_text="answered by the candidate")).to_have_class("need met")
                await expect(page.locator(".arm.candidate td.num").first).not_to_have_text("0/s")
                await set_mood(new, wrong=0.5)
                await expect(page.locator("h1 + .tag")).to_contain_text("rolled back")
                await expect(page.locator(".guard.fail")).to_contain_text("disagreement")
                await expect(page.locator(".journal li").first).to_contain_text("rolled back by understudy")
                assert await served_by(understudy, load, "new", 50) == 0
            await page.locator(".pairs > li > details > summary").first.click()
            await expect(page.locator(".diff tbody th", has_text="/outputs/0/data/0").first).to_be_visible()


async def test_abort_by_button_takes_the_traffic_away(browser: Any, tmp_path: Path) -> None:
    stages = [{"canary": "50%", "min_pairs": 1_000_000}]
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        config = {"upstreams": {"old": {"url": old}, "new": {"url": new}}, "routes": [rules()]}
        config["routes"][0]["rollouts"][0]["stages"] = stages
        async with (
            running(tmp_path, config) as understudy,
            visited(browser, understudy.admin_url) as (page, _),
            Load(f"{understudy.data_url}/r/infer", 100.0) as load,
        ):
            await load.until(lambda: load.by("new") > 10)
            await page.goto(f"{understudy.admin_url}/#/r/new")
            await page.get_by_role("button", name="Abort").click()
            dialog = page.get_by_role("dialog", name="Abort this rollout?")
            await dialog.get_by_label("Reason").fill("complaints from support")
            await dialog.get_by_role("button", name="Abort").click()
            await expect(page.locator("h1 + .tag")).to_contain_text("rolled back")
            await expect(page.locator(".journal li").first).to_contain_text("by anonymous")
            await expect(page.locator(".journal li").first).to_contain_text("complaints from support")
            assert await served_by(understudy, load, "new", 50) == 0
            assert load.problems() == []
