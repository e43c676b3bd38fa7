"""Promise: the console shows the users of both arms and what became of what was posted of them, as text."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Guard, Kind, State
from tests.console.pages import CHROMIUM, DEADLINE, opened
from tests.console.scenes import Scene, SceneSurface, plan
from tests.controller.admin.shown import USERS

expect = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it").expect
expect.set_options(timeout=DEADLINE)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

NAME = "credit/credit-v2"


class WithUsers(Scene):
    """A rollout whose guard counts users."""

    def json(self) -> dict[str, Any]:
        more = {"outcome": "<b>conversion", "within_seconds": 60.0, "bound": 1.0, "learning": 0, "share": 0.5}
        return super().json() | {"users": USERS | more}


async def test_users_of_both_arms_are_a_table(browser: Any) -> None:
    drop = Guard("max_outcome_drop", 0.01, False, 1.0, outcome="conversion", within=60.0, in_points=True)
    service = SceneSurface([WithUsers(plan(NAME, drop), State.CANARY, Kind.LABEL, minutes=1)])
    async with opened(browser, service) as (page, origin, seen):
        await page.goto(f"{origin}#/{NAME}")
        table = page.get_by_role("group", name="users of both arms")
        await expect(table.locator("tbody tr")).to_have_count(8)
        await expect(table.get_by_role("row", name="outcomes too late")).to_have_text("outcomes too late39")
        await expect(table.get_by_role("row", name="mean")).to_have_text("mean0.5–")
        await expect(
            page.get_by_text("<b>conversion, each user once; at most 1 of a user counts; 50 % of")
        ).to_be_visible()
        guard = page.locator(".guards .guard .numbers")
        await expect(guard.locator(".value")).to_have_text("0.55 pp")
        await expect(guard.get_by_text("limit 1 pp")).to_be_visible()
        await expect(page.get_by_role("img", name="0.55 pp, interval")).to_be_visible()
        assert seen.problems == []
