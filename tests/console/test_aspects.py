"""Promise: with several predictions the console draws the one that is chosen, names each guard by its prediction, and
shows of a pair what was read as each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.controller.charts import Charts
from proxy.model import Guard, Kind, PredictionSpec, State
from tests.console.pages import CHROMIUM, DEADLINE, opened
from tests.console.scenes import Scene, SceneSurface, plan
from tests.evidence.streams import make_reading

expect = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it").expect
expect.set_options(timeout=DEADLINE)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

NAME = "chat/chat-v2"


def scene() -> Scene:
    """A shadow whose answers are read as which tool was called, and how risky they are."""
    specs = PredictionSpec("json", Kind.LABEL, name="tools"), PredictionSpec("json", Kind.SCORE, name="risk")
    guards = (
        Guard("max_disagreement", 0.02, aspect="tools"),
        Guard("max_rate_increase", 0.005, aspect="risk"),
        Guard("max_extra_errors", 0.002),
    )
    found = Scene(plan(NAME, *guards), State.SHADOW, Kind.LABEL, minutes=1)
    found.plan = replace(found.plan, prediction=PredictionSpec("none"), predictions=specs)
    found.charts = Charts()
    parts = [
        (make_reading(i, "search", "pay" if i % 3 else "search", kind=Kind.LABEL), make_reading(i, i / 100, i / 120))
        for i in range(100)
    ]
    found.charts.add([make_reading(i, None, None, aspects=both) for i, both in enumerate(parts)], found.plan)
    return found


async def test_each_prediction_is_drawn_and_named(browser: Any) -> None:
    service = SceneSurface([scene()])
    read = [
        {"name": "risk", "difference": 0.0, "live": [0.5], "candidate": [0.5], "detail": ""},
        {"name": "tools", "difference": 1.0, "live": ["search"], "candidate": ["pay"], "detail": ""},
    ]
    service.sample_pairs = [{**one, "aspects": read} for one in service.sample_pairs]
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{NAME}")
        titles = page.locator(".guard h3")
        await expect(titles).to_have_text(["tools: disagreement", "risk: rate increase", "extra errors"])
        await expect(page.locator(".agreement tbody tr")).to_have_count(2)
        await page.get_by_role("button", name="risk").click()
        await expect(page.locator(".agreement")).to_be_hidden()
        await expect(page.get_by_role("button", name="risk")).to_have_attribute("aria-pressed", "true")
        await page.locator(".pairs > li > details > summary").first.click()
        rows = page.locator(".aspects").first.locator("tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("tools")
        await expect(rows.first).to_contain_text("pay")
