"""Promise: the console takes every hostile string as the text it is, runs nothing of it, and outlives a controller."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model import Guard, Kind, State
from tests.console.pages import CHROMIUM, DEADLINE, opened
from tests.console.scenes import Scene, SceneSurface, plan, usual

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eevil\u202c", "x" * 1_000_000]


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "attribute", "right-to-left", "long"])
async def test_hostile_strings_are_text(browser: Any, text: str) -> None:
    scene = Scene(
        plan("r/c", Guard("max_disagreement", 0.02)),
        State.CANARY,
        Kind.LABEL,
        minutes=1,
        segments=(text,),
        labels=(text, "fine"),
        waiting_for=text[:1000],
        failures={text[:200]: 3},
    )
    service = SceneSurface([scene])
    service.sample_pairs = [
        pair | {"request_id": text[:128], "detail": text[:1000]} for pair in service.sample_pairs[:2]
    ]
    for arm in ("live", "candidate", "request"):
        service.sample_pairs[1] = service.sample_pairs[1] | {
            arm: service.sample_pairs[1][arm] | {"body": f'{{"{arm}": "{text[:500]}"}}'}
        }
    service.sample_pairs[0] = service.sample_pairs[0] | {"live": service.sample_pairs[0]["live"] | {"body": text}}
    service.entries = [entry | {"actor": text, "reason": text[:1000]} for entry in service.entries]
    async with opened(browser, service, viewport={"width": 400, "height": 900}) as (page, origin, _):
        await page.goto(f"{origin}#/r/c")
        await page.locator(".pairs > li > details > summary").first.click()
        await page.locator(".pairs > li > details > summary").nth(1).click()
        await expect(page.locator(".journal li").first).to_contain_text(text[:50])
        await expect(page.get_by_role("group", name="segments")).to_contain_text(text[:50])
        await expect(page.get_by_role("group", name="agreement of labels")).to_contain_text(text[:50])
        table = await page.locator(".agreement").bounding_box()
        assert table is not None
        assert table["height"] < 200  # a long label is cut, not broken into a column of letters
        assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        assert len(await page.locator("main").inner_text()) < 100_000


async def test_inline_script_and_style_do_not_run(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual())) as (page, origin, seen):
        await page.goto(origin)
        seen.expected.append("Content Security Policy")
        async with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
            await page.evaluate(
                """() => {
                    const script = document.createElement("script");
                    script.textContent = "window.hit = 1";
                    document.body.append(script);
                    document.body.insertAdjacentHTML("beforeend", '<b id="b" onclick="window.hit = 1">b</b>');
                    document.getElementById("b").click();
                }"""
            )
        assert await page.evaluate("window.hit") is None


async def test_it_finds_back_when_the_controller_restarts(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, seen):
        await page.goto(origin)
        await expect(page.locator("#connection")).to_have_text("live")
        await page.context.set_offline(True)
        for queue in list(service.queues):
            queue.put_nowait({"type": "rollout.changed", "timestamp": "", "data": {}})
        await page.evaluate("fetch('/healthz').catch(() => 0)")
        await page.context.set_offline(False)
        await expect(page.locator(".rollout")).to_have_count(4)
        await expect(page.locator("#connection")).to_have_text("live")
        seen.expected.append("ERR_INTERNET_DISCONNECTED")
