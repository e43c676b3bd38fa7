"""Promise: what drifts is seen at a glance from every page, with its reference, since when and by how much; an operator
takes it for normal by button or keyboard; whatever a label says is text."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from proxy.predictions.observing import Observed
from tests.console.drifts import WatchedDrift, watch
from tests.console.pages import CHROMIUM, opened, shoot
from tests.console.scenes import SceneSurface, usual

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


def watched(*watches: Any) -> SceneSurface:
    service = SceneSurface(usual()[:1])
    service.watched = WatchedDrift(*(watches or (watch(shift=18.0, new=0.06), watch("credit", minutes=10))))
    return service


async def test_what_drifts_is_seen_from_the_first_page(browser: Any) -> None:
    async with opened(browser, watched()) as (page, origin, _):
        await page.goto(f"{origin}#/")
        link = page.get_by_role("link", name="drift: 3 fields")
        await link.click()
        lines = page.locator(".drift-line")
        await expect(lines).to_have_count(2)
        await expect(lines.first).to_contain_text(re.compile(r"amount: level \+0\.[78]\d* sd"))
        await expect(lines.nth(1)).to_contain_text("learning")
        await page.get_by_role("link", name="fraud").click()
        cards = page.locator(".card.field")
        await expect(cards).to_have_count(3)
        await expect(cards.first).to_contain_text(re.compile(r"mean 10[01]\.\d → 11[78]"))
        await expect(cards.first).to_contain_text(re.compile(r"\+0\.[78]\d* sd or more \(\+0\.\d+ sd at least\)"))
        await expect(cards.first.locator(".plot canvas")).to_be_visible()
        await expect(page.get_by_text("inputs: not json 10")).to_be_visible()
        await expect(page.locator(".journal li")).to_have_count(2)
        await shoot(page, "console-drift")


async def test_where_nothing_is_watched_nothing_is_said(browser: Any) -> None:
    service = watched()
    service.watched = WatchedDrift()
    async with opened(browser, service) as (page, origin, seen):
        seen.expected.append("404")
        await page.goto(f"{origin}#/")
        await expect(page.locator(".rollout")).to_have_count(1)
        await expect(page.locator("#drift")).to_be_hidden()
        await page.goto(f"{origin}#/-/drift")
        await expect(page.get_by_role("heading", name="No route watches drift")).to_be_visible()
        await page.goto(f"{origin}#/-/drift/fraud")
        await expect(page.get_by_role("heading", name="Drift is not watched there")).to_be_visible()


async def test_a_field_is_taken_for_normal_by_keyboard(browser: Any) -> None:
    service = watched()
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/-/drift/fraud")
        button = page.locator(".card.field", has_text="amount").get_by_role("button", name="Take for normal…")
        await button.focus()
        await page.keyboard.press("Enter")
        await page.keyboard.type("new tariff")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#dialog")).to_be_hidden()
        await expect(page.locator(".card.field", has_text="amount")).to_contain_text("learning")
        assert [(route, field, reason) for route, field, reason, _ in service.watched.accepted] == [
            ("fraud", "amount", "new tariff")
        ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1360])
async def test_axe_finds_nothing_and_nothing_is_cut_off_in_drift(browser: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright")
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    async with opened(browser, watched(), **how) as (page, origin, _):
        for place, ready in (("#/-/drift", ".drift-line"), ("#/-/drift/fraud", ".card.field canvas")):
            await page.goto(origin + place)
            await expect(page.locator(ready).first).to_be_visible()
            await asyncio.sleep(0.5)  # transitions
            found = await axe.Axe().run(page)
            assert [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found.response["violations"]] == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.get_by_role("button", name="Take for normal…").first.click()
        assert (await axe.Axe().run(page)).response["violations"] == []


async def test_a_label_is_text_and_a_long_one_is_cut(browser: Any) -> None:
    hostile = "<img src=x onerror=alert(1)>" + "x" * 90
    found = watch("credit", minutes=25)
    for second in range(2000):
        found.take(Observed(found.last_at + second, {"amount": 100.0, "country": hostile}))
    found.look(0.0)
    async with opened(browser, watched(found), viewport={"width": 400, "height": 900}) as (page, origin, _):
        await page.goto(f"{origin}#/-/drift/credit")
        await expect(page.locator(".card.field", has_text="country")).to_be_visible()
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
