"""Promise: a pair of language models is shown as what they said, with the words and the arguments in which they differ
marked; raw answers are behind a fold. Whatever they said is text, on a phone and by keyboard too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.model import Arm, Outcome, Pair
from proxy.pairs.link import KEPT, cut_request
from tests.console.chats import ASKED, HEAD, NAME, ChatSurface, call, outcome, stream
from tests.console.pages import CHROMIUM, DEADLINE, opened, shoot

playwright_api = pytest.importorskip("playwright.async_api", reason="`make test-browser` installs it")
expect = playwright_api.expect
expect.set_options(timeout=DEADLINE)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)><b>b</b>"


def one_more(live: bytes | Outcome, candidate: bytes | Outcome, name: str = "0192ffff-more") -> Pair:
    arms = [one if isinstance(one, Outcome) else outcome(one, 0.2, 1.0) for one in (live, candidate)]
    return Pair("t", 0, "w", 99, name, 1_796_000_100.0, Arm.LIVE, ASKED, b'{"prompt": "%b"}' % MARKUP.encode(), *arms)


async def opened_pair(page: Any, origin: str, at: int) -> Any:
    """The pair at that place, opened, once what was said is there."""
    await page.goto(f"{origin}#/{NAME}")
    pair = page.locator(".pairs > li").nth(at)
    await pair.locator("summary").first.click()
    await expect(pair.locator(".spoken")).to_be_visible()
    return pair


async def test_the_words_that_differ_are_marked(browser: Any) -> None:
    service = ChatSurface()
    async with opened(browser, service) as (page, origin, _):
        pair = await opened_pair(page, origin, 0)
        await expect(pair.locator("del")).to_have_text(["5 working "])
        await expect(pair.locator("ins")).to_have_text(["14 ", "Shipping costs are not refunded. "])
        await expect(pair.locator(".asked")).to_have_text("asked Can I send my shoes back?")
        await expect(pair.locator(".readings li")).to_have_text(["tools: same", "refusal: same", "answer: differs"])
        heads = pair.locator(".said-by")
        await expect(heads.nth(0)).to_contain_text("first token 210 ms · 68 tokens · in 1.4 s")
        await expect(heads.nth(1)).to_contain_text("stop")
        raw = pair.get_by_text("data: {", exact=False).first
        await expect(raw).to_be_hidden()
        await pair.get_by_text("answers as they came").click()
        await expect(raw).to_be_visible()
        await pair.get_by_text("answers as they came").click()
        await page.locator(".pairs").scroll_into_view_if_needed()
        await pair.locator("summary").first.click()
        await pair.locator("summary").first.click()
        await expect(pair.locator("del")).to_have_count(1)
        assert len(service.asked) == 1  # what has been read is kept


async def test_calls_are_told_argument_by_argument(browser: Any) -> None:
    async with opened(browser, ChatSurface()) as (page, origin, _):
        pair = await opened_pair(page, origin, 1)
        await expect(pair.get_by_text("Both arms say the same, word for word.")).to_be_visible()
        table = pair.get_by_role("group", name="tool calls")
        await expect(table.locator("tr.call")).to_have_text(
            ["find_stock arguments differ", "reserve only the candidate calls it"]
        )
        rows = table.locator("tbody tr:not(.call)")
        await expect(rows).to_have_text(
            ["/size4242.5", '/article"RUN-42""RUN-42"', '/shop"Ulm""Ulm"', '/article"RUN-42"']
        )
        await expect(table.locator("tr.differs")).to_have_count(2)
        await expect(pair.locator(".said-by .tag")).to_have_text(["tool_calls", "stop"])


async def test_refusals_and_answers_that_break_off_have_labels(browser: Any) -> None:
    async with opened(browser, ChatSurface()) as (page, origin, _):
        pair = await opened_pair(page, origin, 2)
        await expect(pair.locator(".said-by .tag")).to_have_text(["stop", "refused", "stop"])
        await expect(pair.locator(".readings")).to_contain_text("refusal: false → true")
        await expect(pair.locator(".score")).to_have_text("refusal, answer differ")
        pair = await opened_pair(page, origin, 4)
        await expect(pair.locator(".said-by").nth(1)).to_contain_text("broke off")
        await expect(pair.locator(".spoken > .sides del")).to_have_text([" is, the seams are not."])
        await pair.get_by_text("reasoning", exact=True).click()
        await expect(pair.get_by_role("group", name="reasoning of live")).to_have_text("RUN-42: upper coated.")


async def test_a_judge_has_its_say_and_a_pair_that_is_gone_is_said_to_be(browser: Any) -> None:
    service = ChatSurface()
    verdict = {"verdict": "loss", "reason": f"Shorter. {MARKUP}", "order": "live first", "not_judged": None}
    of = {"aspect": "answer", "judge": "helpful"}
    unasked = {"verdict": None, "reason": "", "order": None, "not_judged": "budget"}
    service.sample_pairs[0]["judged"] = [of | verdict, {"aspect": "tools", "judge": "exact"} | unasked]
    service.sample_pairs[1]["id"] = "gone"
    async with opened(browser, service) as (page, origin, seen):
        seen.expected.append("404")
        pair = await opened_pair(page, origin, 0)
        said = "judge helpful answer: live's answer is better (it read live first)"
        await expect(pair.locator(".judged").nth(0)).to_contain_text(said)
        await expect(pair.locator(".judged").nth(0)).to_contain_text(MARKUP)
        await expect(pair.locator(".judged").nth(1)).to_have_text("judge exact tools: not judged: budget")
        gone = page.locator(".pairs > li").nth(1)
        await gone.locator("summary").first.click()
        await expect(gone).to_contain_text("This pair is not kept any more.")


async def test_what_it_costs_and_what_judges_say_so_far_is_seen_at_a_glance(browser: Any) -> None:
    service = ChatSurface()
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{NAME}")
        rows = page.locator(".figures tbody tr")
        await expect(rows).to_have_text(
            [
                "first token210 ms180 ms0.857×",
                "tokens26.329.51.12×",
                "refused0 %25 %",
                "cost of 1,000$1.23$0.8640.702×",
            ]
        )
        card = page.get_by_role("region", name="Answers at a glance")
        await expect(card).to_contain_text("Copies have cost $4.10; the budget of 20/day affords 62 % of the pairs.")
        await expect(page.locator(".forecast")).to_contain_text("1,700 more pairs, 40 min, $4.10")
        await expect(card).to_contain_text("Judge helpful of answer")
        await expect(card).to_contain_text("57.5 % win rate: 90 better, 50 alike, 60 worse, 3 not judged.")
        await expect(card).to_contain_text("The answer that stands first wins 54 % of those that one wins.")


async def test_the_list_holds_still_while_a_pair_is_open(browser: Any) -> None:
    service = ChatSurface()
    async with opened(browser, service) as (page, origin, _):
        pair = await opened_pair(page, origin, 0)
        service.sample_pairs = [one | {"id": f"new-{at}"} for at, one in enumerate(service.sample_pairs)]
        service.emit("rollout.changed", {"rollout": NAME})
        note = page.locator(".newer")
        await expect(note).to_contain_text("5 pairs are worse by now.")
        await expect(pair.locator(".spoken")).to_be_visible()
        await note.get_by_role("button").click()
        await expect(note).to_have_count(0)
        await expect(page.locator(".pairs details[open]")).to_have_count(0)
        service.emit("rollout.changed", {"rollout": NAME})
        await expect(page.locator(".pairs > li")).to_have_count(5)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1360])
async def test_axe_finds_nothing_in_open_pairs(browser: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright")
    how = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    async with opened(browser, ChatSurface(), **how) as (page, origin, _):
        await page.goto(f"{origin}#/{NAME}")
        summaries = page.locator(".pairs > li > details > summary")
        for at in range(5):
            await summaries.nth(at).click()
        await expect(page.locator(".spoken")).to_have_count(5)
        await asyncio.sleep(0.5)  # transitions
        found = await axe.Axe().run(page)
        assert [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found.response["violations"]] == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        sides = [await page.locator(".said").nth(at).bounding_box() for at in (0, 1)]
        assert (sides[0]["x"] == sides[1]["x"]) == (width == 400)  # stacked on a phone, beside each other elsewhere
        if (theme, width) == ("light", 1360):
            await page.evaluate("document.querySelector('.pairs').scrollIntoView({block: 'start'}); scrollBy(0, -90)")
            await shoot(page, "console-pair", scroll=False)


async def test_of_a_long_request_it_is_said_that_only_the_beginning_is_there(browser: Any) -> None:
    body = cut_request(b'{"messages": [{"role": "user", "content": "%b"}]}' % (b"x" * 300_000))
    long = one_more(stream("Yes."), stream("No."))._replace(request_body=body[:KEPT], request_rest=body[KEPT:])
    async with opened(browser, ChatSurface([long])) as (page, origin, _):
        pair = await opened_pair(page, origin, 5)
        said = "nly the first 16 KiB of a request of 293 KiB are kept."
        await expect(pair.locator(".asked")).to_have_text(f"What was asked cannot be read: o{said}")
        await pair.get_by_text("request", exact=True).click()
        await expect(pair.get_by_text(f"O{said}", exact=True)).to_be_visible()
        other = await opened_pair(page, origin, 0)
        await other.get_by_text("request", exact=True).click()
        await expect(other.locator("pre").last).to_be_visible()
        await expect(other.get_by_text("are kept.")).to_have_count(0)


async def test_it_can_be_read_by_keyboard(browser: Any) -> None:
    long = " ".join(f"word{number}" for number in range(400))
    service = ChatSurface([one_more(stream(f"{long} end"), stream(f"{long} End"))])
    async with opened(browser, service) as (page, origin, _):
        await page.goto(f"{origin}#/{NAME}")
        pair = page.locator(".pairs > li").nth(5)
        await pair.locator("summary").first.focus()
        await page.keyboard.press("Enter")
        await expect(pair.locator("ins")).to_have_text(["End"])
        fold = pair.locator(".fold").first
        await expect(fold).to_contain_text("characters that are equal")
        assert "word5 " not in await pair.locator(".said").first.inner_text()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "said"
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        assert "word5 " in await pair.locator(".said").first.inner_text()


HOSTILE = {
    "markup": one_more(
        stream(f"One {MARKUP}", call(MARKUP, f'{{"{MARKUP[:20]}": "{MARKUP[:24]}"}}'), finish=MARKUP, thought=MARKUP),
        stream(MARKUP),
    ),
    "binary": one_more(Outcome(200, head=HEAD, body=bytes(range(256)) * 40), stream("\x00\u202eevil\ud7ff")),
    "long": one_more(stream("x" * 100_000), stream("y " * 60_000)),
    "without blanks": one_more(stream("漢字" * 5000), stream("漢字" * 4000 + "かな" * 1000)),
    "error": one_more(Outcome(503, head=HEAD, body=b'{"error": {"message": "overloaded"}}'), stream("Fine.")),
    "nothing": one_more(Outcome(200, head=HEAD), Outcome(0)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_whatever_is_said_is_text(browser: Any, name: str) -> None:
    service = ChatSurface([HOSTILE[name]])
    async with opened(browser, service, viewport={"width": 400, "height": 900}) as (page, origin, _):
        pair = await opened_pair(page, origin, 5)
        await expect(pair.locator(".said").first).to_be_visible()
        await pair.get_by_text("answers as they came").click()
        if name == "markup":
            await expect(pair.locator(".said").first).to_contain_text("<script>alert(1)</script>")
            await expect(pair.locator(".asked")).to_contain_text(MARKUP)
        assert await page.evaluate("document.querySelectorAll('main script, main img, main b').length") == 0
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        assert len(await page.locator("main").inner_text()) < 200_000


PROPERTY = """async (seed) => {
    const { wordDiff } = await import("/console/worddiff.js");
    let state = seed;
    const draw = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
    const WORDS = ["the ", "a ", "cat ", "sat", "\\n", ". ", "é", "漢字かな", "x1 ", "🙂", "  "];
    const text = (n) => Array.from({ length: draw(n) }, () => WORDS[draw(WORDS.length)]).join("");
    let shared = 0;
    for (let round = 0; round < 3000; round += 1) {
        const live = text(30);
        let candidate = live;
        if (draw(3) === 0) candidate = text(30);
        else for (let edits = draw(4); edits; edits -= 1) {
            const at = draw(candidate.length + 1);
            candidate = candidate.slice(0, at) + WORDS[draw(WORDS.length)] + candidate.slice(at + draw(4));
        }
        const runs = wordDiff(live, candidate);
        const of = (arm) => runs.map((run) => run.both ?? run[arm]).join("");
        if (of("live") !== live || of("candidate") !== candidate) return [live, candidate, runs];
        if (live === candidate && runs.some((run) => run.both === undefined)) return [live, candidate, runs];
        shared += runs.filter((run) => run.both !== undefined).length;
    }
    return shared;
}"""
LONG = """async () => {
    const { wordDiff } = await import("/console/worddiff.js");
    const text = (word) => Array.from({ length: 16000 }, (_, n) => `${word}${n % 7919}`).join(" ");
    const runs = wordDiff(`same ${text("a")} end`, `same ${text("b")} end`);
    return runs.map((run) => run.both ?? "");
}"""


async def test_the_runs_of_two_texts_are_the_texts_and_the_work_is_bounded(browser: Any) -> None:
    async with opened(browser, ChatSurface()) as (page, origin, _):
        await page.goto(origin)
        found = await page.evaluate(PROPERTY, 7)
        assert isinstance(found, int), found
        assert found > 1000
        async with asyncio.timeout(60):
            assert await page.evaluate(LONG) == ["same ", "", " end"]
