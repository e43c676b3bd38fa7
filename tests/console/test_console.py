"""Promise: in a real browser the console shows a rollout as it goes and lets a person act, in both themes, on a phone,
by keyboard and to a screen reader, needs nothing from elsewhere, and takes every hostile string as the text it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from proxy.model import Guard, Kind, State
from tests.console.pages import CHROMIUM, DEADLINE, opened, shoot
from tests.console.scenes import SHADOWED, Scene, SceneSurface, plan, usual

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

DIGITS = "digits/digits-forest"


async def passing_time(service: SceneSurface, until: Callable[[], Any]) -> None:
    """Let seconds pass in the scenes, ten times as fast as outside, until a check of the page holds."""

    async def steps() -> None:
        while True:
            service.step()
            await asyncio.sleep(0.1)

    stepping = asyncio.create_task(steps())
    try:
        await until()
    finally:
        stepping.cancel()


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_every_rollout_is_on_the_first_page(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(origin)
        await expect(page.locator(".rollout")).to_have_count(4)
        first = page.locator(".rollout", has_text=DIGITS)
        await expect(first.locator(".weight")).to_contain_text("5 %")
        await expect(first.locator("[aria-current=step]")).to_have_text("canary 5 %")
        await expect(page.locator(".rollout", has_text="fraud")).to_contain_text("rolled back")
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(page).to_have_title(re.compile("1 rolled back, 2 in progress, 1 promoted"))
        await passing_time(service, lambda: expect(first.locator(".arm.live")).to_contain_text("/s"))
        answers, copies = first.locator(".arm.candidate td.num").nth(0), first.locator(".arm.candidate td.num").nth(1)
        share = [float((await cell.inner_text()).removesuffix("/s").replace(",", "")) for cell in (answers, copies)]
        assert 0.02 < share[0] / sum(share) < 0.08  # who answered clients is told from who got copies
        await expect(page.locator(".events li").first).to_contain_text("Sale is over.")  # before the page was opened
        service.emit("rollout.advanced", {"rollout": DIGITS, "reason": "canary 5 % passed: all 4 guards."})
        await expect(page.locator(".events li").first).to_contain_text("advanced digits/digits-forest")
        await expect(page.locator(".events li").first).to_contain_text("canary 5 % passed")
        await shoot(page, "console-overview")


async def test_a_rollout_is_watched_from_shadow_to_rollback(browser: Any) -> None:
    scene = Scene(
        plan("fraud/fraud-v9", Guard("max_disagreement", 0.02), Guard("p99_latency", 1.2, relative=True)),
        State.SHADOW,
        Kind.PROBABILITIES,
        stage=0,
        minutes=1,
        forecast={"text": "This verdict needs about 1,700 more pairs, 40 min, $4.10."},
    )
    service = SceneSurface([scene])
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/fraud/fraud-v9")
        here = page.locator("[aria-current=step]")
        await expect(here).to_have_text("shadow")
        await expect(page.locator(".guard")).to_have_count(2)
        await expect(page.locator(".forecast")).to_have_text(
            "This verdict needs about 1,700 more pairs, 40 min, $4.10."
        )

        scene.state, scene.how["stage"] = State.CANARY, 1
        service.emit("rollout.advanced", {"rollout": scene.plan.name})
        await passing_time(service, lambda: expect(here).to_have_text("canary 5 %"))
        await expect(page.locator("#announce")).to_have_text("fraud/fraud-v9 is now canary at 5 %")

        scene.state, scene.how["cause"], scene.compared = State.ROLLED_BACK, "max_disagreement", 20_000
        scene.how["forecast"] = None
        scene.how["reason"] = (
            "disagreement now 4.8 % (4.52 % – 5.08 %), limit 2 %, the evidence against it is enough: fail"
        )
        scene.how["waiting_for"] = "Waits for a new version, retry or restart."
        await passing_time(service, lambda: expect(page.locator("h1 + .tag")).to_contain_text("rolled back"))
        await expect(page.locator(".top .cause")).to_contain_text("4.8 %")
        await expect(page.locator(".guard.fail")).to_contain_text("disagreement")
        await expect(page.get_by_role("button", name="Retry")).to_be_visible()
        await expect(page.get_by_role("button", name="Restart")).to_be_visible()
        await expect(page.get_by_text("Ended in canary 5 %")).to_be_visible()
        await expect(page.get_by_role("button", name="Abort")).to_have_count(0)
        await expect(page).to_have_title(re.compile("rolled back"))
        await shoot(page, "console-rolled-back")


async def test_charts_and_tables_show_both_arms(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await expect(page.locator(".plot canvas")).to_have_count(3)
        await passing_time(service, lambda: expect(page.locator(".arm.candidate")).to_contain_text("/s"))
        await expect(page.locator(".quantiles tbody tr")).to_have_count(3)
        await expect(page.get_by_role("list", name="what this stage asks for").get_by_role("listitem")).to_have_text(
            [
                "310 of 1,000 pairs: not yet",
                "✓ 200 answered by the candidate: done",
                "6 min 42 s of 10 min: not yet",
                "1 of 4 guards pass: not yet",
            ]
        )
        await expect(page.locator(".agreement tbody tr")).to_have_count(10)
        segments = page.get_by_role("group", name="segments").locator("tbody th")
        await expect(segments).to_have_text(["tenant-7", "tenant-1", "(none)"])
        await expect(page.locator(".guard")).to_have_count(4)  # and not among the guards on all requests
        await shoot(page, "console-rollout")


async def test_the_ticks_of_a_latency_chart_end_wherever_its_least_value_lies(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual())) as (page, origin, _):
        await page.goto(origin)
        drawn = await page.evaluate(
            """async () => {
                const { overlay, overlayData } = await import("/console/plots.js");
                const counts = Array(10).fill(1);
                let drawn = 0;
                for (let least = 0.0009; least < 0.02; least *= 1.03) {
                    const chart = overlay("latency", String, true);
                    document.body.append(chart.element);
                    const edges = Array.from({ length: 11 }, (_, i) => least * 1.2 ** i);
                    chart.update(overlayData({ edges, live: counts, candidate: counts }));
                    await new Promise((done) => requestAnimationFrame(done));
                    drawn += chart.element.querySelectorAll("canvas").length;
                    chart.leave();
                    chart.element.remove();
                }
                return drawn;
            }"""
        )
        assert drawn > 100


async def test_rates_are_the_fleets_with_each_replicas_own_behind_them(browser: Any) -> None:
    service = SceneSurface(usual())
    service.replicas = True
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        card = page.locator(".traffic-card")
        summary, rows = card.locator(".replicas > summary"), card.locator(".by-replica tbody tr")

        async def counted() -> None:
            await expect(summary).to_have_text("Of 2 of 3 replicas")
            await expect(card.locator(".arms").first.locator("tbody tr").first).to_contain_text("/s")
            await summary.click()
            await expect(rows).to_have_count(3)
            await expect(rows.nth(2)).to_contain_text("cut off")
            for n in range(2):
                await expect(rows.nth(n)).to_have_text(re.compile(rf"host-{n}:9091.*[1-9].*/s"))

        await passing_time(service, counted)
        await expect(card.locator(".replicas")).to_have_attribute("open", "")  # it stays so over refreshes


async def test_one_machine_says_nothing_of_replicas(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual())) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await expect(page.locator(".traffic-card .arms").first).to_be_visible()
        await expect(page.locator(".replicas")).to_be_hidden()


async def test_many_segments_show_the_worst_and_the_rest_on_demand(browser: Any) -> None:
    segments = tuple(f"tenant-{n}" for n in range(20))
    scene = Scene(plan("r/c", Guard("max_disagreement", 0.02)), State.CANARY, Kind.LABEL, minutes=1, segments=segments)
    service = SceneSurface([scene])
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/r/c")
        rows = page.get_by_role("group", name="segments").locator("tbody tr")
        await expect(rows).to_have_count(12)
        await expect(rows.first).to_contain_text("tenant-0")
        await page.get_by_role("button", name="8 more").click()
        await expect(rows).to_have_count(20)
        service.emit("rollout.changed", {})
        await passing_time(service, lambda: expect(page.locator(".arm.live")).to_contain_text("/s"))
        await expect(rows).to_have_count(20)


async def test_a_chart_says_what_is_under_the_pointer_in_the_viewers_zone(browser: Any) -> None:
    service = SceneSurface(usual())
    how = {"timezone_id": "Asia/Kathmandu", "locale": "en-GB"}
    async with opened(browser, service, **how) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await expect(page.locator("#zone")).to_contain_text("Asia/Ka")
        kathmandu = timezone(timedelta(hours=5, minutes=45))
        entered = datetime.fromtimestamp(service.scenes[0].began + SHADOWED, tz=kathmandu)
        said = re.compile(f"(^|, ){entered:%H:%M:%S}$")  # with its day, were that yesterday
        await expect(page.locator(".waiting time")).to_have_text(said)
        await page.locator(".plot").first.hover()
        tip = page.locator(".tip:visible")
        await expect(tip.locator("li")).to_have_count(4)
        await expect(tip.locator("li").first).to_have_text(re.compile(r"disagreement\d+ %"))
        await page.locator(".plot").nth(1).hover()
        await expect(tip.locator("li").first).to_have_text(re.compile(r"live[\d.]+ %"))


async def test_a_pair_is_compared_field_by_field_and_stays_open(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await page.locator(".pairs > li > details > summary").nth(1).click()
        table = page.locator(".diff").first
        await expect(table.locator("tbody tr").first).to_contain_text("/outputs/0/data/")
        await expect(table).to_contain_text("fields are equal")
        service.sample_pairs = [service.sample_pairs[0] | {"id": "worse"}, *service.sample_pairs[:5]]
        service.emit("rollout.changed", {})
        await expect(page.locator(".newer")).to_contain_text("1 pair is worse by now.")
        await expect(page.locator(".pairs > li > details").nth(1)).to_have_attribute("open", "")
        await page.locator(".pairs > li > details > summary").nth(1).click()
        service.emit("rollout.changed", {})
        await expect(page.locator(".pairs > li")).to_have_count(6)


async def test_whole_numbers_that_differ_beyond_what_a_double_holds_are_shown_as_differing(browser: Any) -> None:
    service = SceneSurface(usual())
    first = service.sample_pairs[0]
    first["live"]["body"] = '{"id": 9007199254740993, "n": 1.0, "same": 9007199254740995}'
    first["candidate"]["body"] = '{"id": 9007199254740992, "n": 1, "same": 9007199254740995}'
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await page.locator(".pairs > li > details > summary").first.click()
        rows = page.locator(".diff").first.locator("tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_have_text("/id90071992547409939007199254740992−1.00")


async def test_nothing_yet_says_what_to_do(browser: Any) -> None:
    service = SceneSurface([])
    async with opened(browser, service) as (page, origin, _):
        await page.goto(origin)
        await expect(page.locator("h2", has_text="No rollout is configured")).to_be_visible()
        await expect(page.locator("pre")).to_contain_text("candidate: credit-v2")
        service.scenes = [Scene(plan("a/b", Guard("p99_latency", 1.2)), State.SHADOW, Kind.TEXT, stage=0, minutes=0)]
        service.emit("rollout.changed", {})
        await page.get_by_role("link", name="a/b").click()
        await expect(page.locator("h1")).to_have_text("a/b")


async def test_an_unknown_rollout_is_said_to_be_unknown(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual())) as (page, origin, seen):
        seen.expected.append("404")  # the browser's own note of the answer
        await page.goto(f"{origin}#/no/such")
        await expect(page.locator("h1")).to_have_text("There is no such rollout")


# --- acting ----------------------------------------------------------------------------------------------------------


async def test_abort_by_button_with_a_reason(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await page.get_by_role("button", name="Abort").click()
        dialog = page.get_by_role("dialog", name="Abort this rollout?")
        await dialog.get_by_role("button", name="Abort").click()
        assert service.acts == []  # a reason is asked for first
        await dialog.get_by_label("Reason").fill("complaints from support <b>")
        await shoot(page, "console-abort")
        await dialog.get_by_role("button", name="Abort").click()
        await expect(dialog).to_be_hidden()
        await expect(page.locator("h1 + .tag")).to_contain_text("rolled back")
        await expect(page.locator(".journal li").first).to_contain_text("complaints from support <b>")
        assert service.acts == [(DIGITS, "abort", "complaints from support <b>", "anonymous", False)]


async def test_pause_and_resume_by_keyboard_alone(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(origin)
        await expect(page.locator(".rollout")).to_have_count(4)
        await page.get_by_role("link", name=DIGITS).focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Space")
        await page.keyboard.type("sale until noon")  # the reason has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")  # past Cancel
        await page.keyboard.press("Enter")
        await expect(page.locator("h1 + .tag")).to_have_text("paused")
        await page.get_by_role("button", name="Resume").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert [act[1:4] for act in service.acts] == [("pause", "sale until noon", "anonymous")]


async def test_promote_can_go_all_the_way(browser: Any) -> None:
    service = SceneSurface(usual())
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        await page.get_by_role("button", name="Promote").click()
        await page.get_by_label("Reason").fill("checked by hand")
        await page.get_by_label("All the way to 100 %").check()
        await page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert service.acts == [(DIGITS, "promote", "checked by hand", "anonymous", True)]


# --- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1360])
async def test_axe_finds_nothing_and_nothing_is_cut_off(browser: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright")
    service = SceneSurface(usual())
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    async with opened(browser, service, **how) as (page, origin, _):
        for place, ready in (("#/", ".rollout"), (f"#/{DIGITS}", ".guard"), ("#/fraud/fraud-skewed", ".guard.fail")):
            await page.goto(origin + place)
            await expect(page.locator(ready).first).to_be_visible()
            if place.endswith("forest"):
                await page.locator(".pairs > li > details > summary").nth(1).click()
            await asyncio.sleep(0.5)  # transitions
            found = await axe.Axe().run(page)
            violations = [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found.response["violations"]]
            assert violations == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            if (theme, width, ready) == ("dark", 400, ".guard"):
                await shoot(page, "console-phone")
        await page.goto(f"{origin}#/{DIGITS}")
        await page.get_by_role("button", name="Abort").click()
        assert (await axe.Axe().run(page)).response["violations"] == []


async def test_the_theme_can_be_chosen_and_is_remembered(browser: Any) -> None:
    async with opened(browser, SceneSurface(usual()), color_scheme="light") as (page, origin, _):
        await page.goto(f"{origin}#/{DIGITS}")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = await page.evaluate(ground)
        await page.get_by_role("button", name="theme: auto").click()
        await page.get_by_role("button", name="theme: light").click()
        dark = await page.evaluate(ground)
        assert dark != light
        await page.reload()
        await expect(page.get_by_role("button", name="theme: dark")).to_be_visible()
        assert await page.evaluate(ground) == dark
