"""Promise: the console says who is signed in, lets them in by a token or by the provider, back to the page they wanted,
and shows what they may not do as such, with the reason."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from proxy.rfc3339 import rfc3339
from tests.console.pages import CHROMIUM, DEADLINE, opened, shoot
from tests.console.scenes import SceneSurface, usual
from tests.controller.admin.oidc.fake_provider import provided

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

DIGITS = "digits/digits-forest"
TOKENS = (
    ", tokens: [{name: ada, token: sesame, role: operate}, {name: viewer, token: only-looking, role: view},"
    " {name: fraud, token: of-default, role: operate, routes: [default]}]"
)


async def sign_in(page: Any, token: str) -> None:
    await page.get_by_role("button", name="Use a token").click()
    await page.get_by_role("textbox", name="Token").fill(token)
    await page.get_by_role("button", name="Use it").click()


async def test_a_token_is_asked_for_kept_in_the_tab_and_given_back(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual(), admin=TOKENS)) as (page, origin, seen):
        await page.goto(origin)
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await sign_in(page, "wrong")
        await sign_in(page, "sesame")
        await expect(page.locator(".rollout")).to_have_count(4)
        await expect(page.locator("#who")).to_have_text("token:ada")
        await expect(page.locator("#connection")).to_have_text("live")
        await page.reload()
        await expect(page.locator(".rollout")).to_have_count(4)
        stored = "Object.keys(localStorage).some((key) => localStorage[key].includes('sesame'))"
        assert await page.evaluate(stored) is False
        await page.locator("#who").click()
        await expect(page.get_by_role("dialog")).to_contain_text("operate on all routes")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        seen.expected.append("401")


async def test_what_one_may_not_do_is_shown_as_such(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual(), admin=TOKENS)) as (page, origin, seen):
        await page.goto(f"{origin}#/{DIGITS}")
        await sign_in(page, "only-looking")
        why = "This needs the role operate on the route digits; token:viewer has view."
        await expect(page.locator(".refusal")).to_have_text(why)
        for name in ("Promote", "Pause", "Abort"):
            await expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
        seen.expected.append("401")


async def test_one_asks_for_100_percent_and_another_confirms(browser: Any) -> None:
    service = SceneSurface(usual(), admin=TOKENS)
    asked = {"by": "token:ada", "until": rfc3339(time.time() + 3600)}
    whole = service.rollout
    service.rollout = lambda name: (whole(name) or {}) | {"asked": asked}  # type: ignore[method-assign]
    async with opened(browser, service) as (page, origin, seen):
        await page.goto(f"{origin}#/{DIGITS}")
        await sign_in(page, "sesame")
        await expect(page.locator(".asked")).to_contain_text("token:ada asks for 100 %")
        confirm = page.get_by_role("button", name="Confirm 100 %")
        await expect(confirm).to_be_disabled()
        await expect(confirm).to_have_attribute("title", re.compile("yourself: another person"))
        await shoot(page, "console-asked")
        asked["by"] = "oidc:bob"
        service.emit("rollout.changed", {"rollout": DIGITS})
        await confirm.click()
        await expect(page.get_by_role("checkbox", name="All the way to 100 %")).to_be_checked()
        await page.get_by_label("Reason").fill("I saw it, too")
        await page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert service.acts == [(DIGITS, "promote", "I saw it, too", "token:ada", True)]
        seen.expected.append("401")


async def test_by_the_provider_and_back_to_the_page_that_was_wanted(browser: Any) -> None:
    async with provided() as provider:
        service = SceneSurface(usual())
        async with opened(browser, service) as (page, origin, seen):
            grants = "grants: [{value: ml, role: operate}]"
            login = "login: {client_id: console, client_secret: 'not:plain'}"
            oidc = f"issuer: '{provider.issuer}', audience: understudy, roles: {{{grants}}}, {login}"
            service.config = SceneSurface([], admin=f", url: '{origin}', oidc: {{{oidc}}}").config
            await page.goto(f"{origin}#/{DIGITS}")
            button = page.get_by_role("link", name="Sign in with your provider")
            provider.denies = True
            await button.click()
            await expect(page.get_by_text("The provider has not let you in.")).to_be_visible()
            provider.denies = False
            await button.click()
            await expect(page.get_by_role("heading", name=DIGITS)).to_be_visible()
            await expect(page.locator("#who")).to_have_text("oidc:ada")
            assert await page.evaluate("document.cookie") == ""
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_label("Reason").fill("lunch")
            await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
            await expect(page.get_by_role("dialog")).to_be_hidden()
            assert service.acts == [(DIGITS, "pause", "lunch", "oidc:ada", False)]
            await page.locator("#who").click()
            await page.get_by_role("button", name="Sign out").click()
            await expect(button).to_be_visible()
            seen.expected.append("401")
            seen.abroad.clear()  # the provider


@pytest.mark.parametrize(("theme", "width"), [("light", 1360), ("dark", 400)])
async def test_axe_finds_nothing(browser: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright")
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    async with opened(browser, SceneSurface(usual(), admin=TOKENS), **how) as (page, origin, seen):
        await page.goto(f"{origin}#/{DIGITS}")
        await expect(page.get_by_role("button", name="Use a token")).to_be_visible()
        assert (await axe.Axe().run(page)).response["violations"] == []
        await page.get_by_role("button", name="Use a token").click()
        assert (await axe.Axe().run(page)).response["violations"] == []
        await page.get_by_role("button", name="Cancel").click()
        await sign_in(page, "only-looking")
        await expect(page.locator(".refusal")).to_be_visible()
        assert (await axe.Axe().run(page)).response["violations"] == []
        await page.locator("#who").click()
        assert (await axe.Axe().run(page)).response["violations"] == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        seen.expected.append("401")
