"""Promise: with 400 rollouts the first page stays one to look at: the worst first, no longer than two screens, searched
and filtered in the address, by keyboard, on a phone, in both themes and for a screen reader."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from tests.console.pages import CHROMIUM, DEADLINE, opened, shoot
from tests.console.scenes import SceneSurface, usual

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

TALLEST = 2000
OWNERS = ("credit risk", "fraud", "search", "support", None)


class Crowd(SceneSurface):
    """The usual rollouts, a hundred times each, of five teams; one is stalled, one held."""

    def __init__(self, times: int = 100) -> None:
        super().__init__(usual())
        self.times = times

    def rollouts(self) -> list[dict[str, Any]]:
        found = []
        for n in range(self.times):
            for at, whole in enumerate(super().rollouts()):
                route = f"{whole['route']}-{n:03}"
                one = whole | {"name": f"{route}/{whole['candidate']}", "route": route, "owner": OWNERS[(n + at) % 5]}
                if whole["state"] == "rolled_back" and n % 10:
                    one |= {"state": "shadow", "findings": [], "weight": 0.0}  # young
                found.append(one)
        if self.times > 1:
            found[-4] |= {"stalled": True}
            found[-8] |= {"held": True}
        return found

    def rollout(self, name: str) -> dict[str, Any] | None:
        return next((one for one in self.rollouts() if one["name"] == name), None)

    def charts(self, name: str) -> dict[str, Any] | None:
        return self.scenes[0].charts.shown(self.scenes[0].plan, time.time())

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        return []


async def _names(page: Any) -> list[str]:
    names: list[str] = await page.locator(".line a").all_inner_texts()
    return names


async def test_the_worst_come_first_and_a_page_is_no_longer_than_two_screens(browser: Any) -> None:
    for width, most in ((1360, 20), (400, 10)):
        async with opened(browser, Crowd(), viewport={"width": width, "height": 900}) as (page, origin, _):
            await page.goto(origin)
            await expect(page.locator(".line")).to_have_count(most)
            await expect(page.locator(".overview-head")).to_contain_text("10 rolled back")
            await expect(page.locator(".line").first).to_contain_text("rolled back")
            await expect(page.locator(".tools [role=status]")).to_have_text(f"1–{most} of 400")
            assert await page.evaluate("document.documentElement.scrollHeight") <= TALLEST
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            if width > 1000:
                await shoot(page, "console-many")
            seen = await _names(page)
            for _ in range(2):
                await page.get_by_role("button", name="better").click()
                await expect(page.locator(".line a").first).not_to_have_text(seen[-1])
                seen += await _names(page)
            assert len(set(seen)) == 3 * most
            assert "page=3" in page.url


async def test_stalled_and_held_come_before_those_in_progress(browser: Any) -> None:
    async with opened(browser, Crowd()) as (page, origin, _):
        await page.goto(f"{origin}#/?q=digits")
        await expect(page.locator(".tools [role=status]")).to_have_text("1–20 of 100")
        assert (await _names(page))[:3] == [
            "digits-099/digits-forest", "digits-098/digits-forest", "digits-000/digits-forest",
        ]  # fmt: skip


async def test_what_is_searched_for_stands_in_the_address(browser: Any) -> None:
    service = Crowd()
    fitting = [one for one in service.rollouts() if "fraud-01" in one["name"] and one["owner"] == "fraud"]
    async with opened(browser, service) as (page, origin, _):
        found = page.locator(".tools [role=status]")
        await page.goto(origin)
        await page.get_by_label("Search rollouts").fill("fraud-01")
        await page.get_by_label("owner").select_option("fraud")
        await expect(found).to_have_text(f"1–{len(fitting)} of {len(fitting)}")
        assert "q=fraud-01" in page.url
        assert "owner=fraud" in page.url
        there, names = page.url, await _names(page)
        await page.locator(".line a").first.click()
        await page.go_back()
        await expect(found).to_have_text(f"1–{len(fitting)} of {len(fitting)}")
        await page.reload()
        await expect(found).to_have_text(f"1–{len(fitting)} of {len(fitting)}")
        assert (page.url, await _names(page)) == (there, names)
        await page.get_by_label("state").select_option("rolled back")
        await expect(found).to_have_text(re.compile("1–1 of 1|none"))
        await page.goto(f"{origin}#/?q=nothing+of+the+kind")
        await expect(page.locator(".lines")).to_have_text("No rollout fits.")
        await page.goto(f"{origin}#/?route=search-007&page=99")
        await expect(page.locator(".line")).to_have_count(1)


async def test_replicas_can_be_filtered_by(browser: Any) -> None:
    service = Crowd()
    service.replicas = True
    service.answered = {("digits-003", "digits-tree", "served", "200"): 90}
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/?replica=host-0:9091")
        await expect(page.locator(".line")).to_have_count(1)
        await expect(page.locator(".line")).to_contain_text("digits-003")


async def test_by_keyboard_alone(browser: Any) -> None:
    service = Crowd()
    async with opened(browser, service) as (page, origin, _):
        await page.goto(origin)
        await expect(page.locator(".line")).to_have_count(20)
        await page.keyboard.press("/")
        await page.keyboard.type("search-0")
        await expect(page.locator(".tools [role=status]")).to_have_text("1–20 of 100")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        second = page.locator(".line a").nth(1)
        await expect(second).to_be_focused()
        name = await second.inner_text()
        service.step()  # what is shown changes under the focus
        await asyncio.sleep(1.5)
        assert await page.evaluate("document.activeElement.innerText") == name
        await page.keyboard.press("ArrowUp")
        await expect(page.locator(".line a").first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("#/search-"))


async def test_a_few_rollouts_have_a_card_each(browser: Any) -> None:
    async with opened(browser, Crowd(times=1)) as (page, origin, _):
        await page.goto(origin)
        await expect(page.locator(".card.rollout")).to_have_count(4)
        await expect(page.locator(".tools")).to_be_hidden()
        await expect(page.locator(".card.rollout").first).to_contain_text("rolled back")


async def test_earlier_trials_of_a_rollout_are_told(browser: Any) -> None:
    service = Crowd(times=1)
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/fraud-000/fraud-skewed")
        await expect(page.locator("header.top")).to_be_visible()
        await expect(page.get_by_role("heading", name="Earlier trials")).to_be_hidden()
        ended = {"trial": "t1", "version": "<b>1</b>", "live": "fraud-v1", "state": "rolled_back", "cause": "fail"}
        ended |= {"began_at": "2026-11-20T10:00:00Z", "since": "2026-11-21T10:00:00Z", "stage": "canary-5"}
        service.trials = [ended | {"reason": "p99 is 2.1 x live", "verdict": "fail"}]
        await page.reload()
        shown = page.locator("section", has=page.get_by_role("heading", name="Earlier trials"))
        await expect(shown).to_contain_text("rolled back in canary 5 % version <b>1</b>")
        await expect(shown).to_contain_text("p99 is 2.1 x live")


async def test_a_refused_configuration_is_told_above_every_page(browser: Any) -> None:
    service = Crowd(times=1)
    error = "understudy.yaml: 1 mistake\n  teams/fraud.yaml, line 8: routes[0].live: there is no upstream `fraud-v9`"
    service.refused = {"error": error, "at": "2026-11-30T09:00:00Z", "by": "watch"}
    async with opened(browser, service) as (page, origin, _):
        for place in ("", "#/fraud-000/fraud-skewed"):
            await page.goto(origin + place)
            await expect(page.locator("#refused summary")).to_contain_text("refused when its files changed")
        await page.locator("#refused summary").click()
        await expect(page.locator("#refused pre")).to_contain_text("teams/fraud.yaml, line 8")
        service.refused = None
        await page.reload()
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(page.locator("#refused")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1360])
async def test_axe_finds_nothing(browser: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright")
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    async with opened(browser, Crowd(), **how) as (page, origin, _):
        await page.goto(f"{origin}#/?owner=fraud")
        await expect(page.locator(".line").first).to_be_visible()
        await asyncio.sleep(0.5)  # transitions
        found = await axe.Axe().run(page)
        assert [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found.response["violations"]] == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
