"""The fakes misbehave as they say; a proof that leans on a fake that behaves proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.fakes import FLOOD, FakeModel, Load, Mood, _delay, answer, model_process, question, set_mood


@pytest.fixture
async def model() -> AsyncIterator[FakeModel]:
    model = await FakeModel("m").start()
    yield model
    await model.stop()


async def _raw(model: FakeModel, wait: float = 5.0, **headers: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", model.port)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    body = question(1)
    writer.write(f"POST /m HTTP/1.1\r\nhost: m\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body)
    got = b""
    try:
        async with asyncio.timeout(wait):
            while chunk := await reader.read(1 << 20):
                got += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    writer.close()
    return got


async def test_each_mode_is_as_bad_as_it_says(model: FakeModel) -> None:
    right = answer("m", question(1))
    got = {}
    for mode in ("normal", "hang", "garbage", "flood", "drip", "lie_long", "lie_short", "error", "close"):
        model.mood = Mood(mode)
        got[mode] = await _raw(model, 1.5 if mode in ("drip", "flood") else 0.2)
    assert got["normal"].endswith(b"\r\n\r\n" + right)
    assert got["hang"] == got["close"] == b""
    assert not got["garbage"].startswith(b"HTTP")
    assert len(got["flood"]) > FLOOD
    assert got["drip"] == b"HT"
    assert f"content-length: {len(right) + 1000}".encode() in got["lie_long"]
    assert f"content-length: {len(right) - 10}".encode() in got["lie_short"]
    assert got["error"].startswith(b"HTTP/1.1 500")


async def test_copies_are_spared_when_only_the_served_suffer(model: FakeModel) -> None:
    model.mood = Mood("error", only_served=True)
    assert (await _raw(model, 0.2)).startswith(b"HTTP/1.1 500")
    assert (await _raw(model, 0.2, x_shadow="m")).startswith(b"HTTP/1.1 200")
    assert (model.requests, model.copies) == (2, 1)


def test_wrong_answers_have_the_set_share_and_are_the_same_every_time() -> None:
    differ = [answer("m", question(n), 0.05) != answer("m", question(n)) for n in range(10_000)]
    assert 0.04 < sum(differ) / len(differ) < 0.06


def test_delays_are_lognormal_and_a_tail_may_be_slower() -> None:
    bodies = [question(n) for n in range(4000)]
    plain = sorted(_delay(Mood(delay=0.01, sigma=0.5), "m", body) for body in bodies)
    tail = sorted(_delay(Mood(delay=0.01, sigma=0.5, slower=8.0, tail=0.03), "m", body) for body in bodies)
    assert plain[2000] == pytest.approx(0.01, rel=0.05)
    assert plain[3960] == pytest.approx(0.01 * 3.2, rel=0.15)
    assert tail[2000] == pytest.approx(plain[2000], rel=0.05)
    assert tail[3960] / plain[3960] == pytest.approx(3.0, rel=0.25)


async def test_load_holds_its_rate_and_sees_every_wrong_byte(model: FakeModel) -> None:
    model.mood = Mood(wrong=0.5)
    async with Load(f"{model.url}/m", rate=400) as load:
        await load.more(100)
    assert len(load.problems()) == len(load.seen)  # the fake does not say `x-served-by`, so no answer can be right
    with pytest.raises(TimeoutError):
        await load.until(lambda: False, within=0.01)


async def test_a_dead_model_refuses_and_comes_back_on_its_port(model: FakeModel) -> None:
    port = model.port
    model.die()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(model.url, data=b"{}")
        await model.start()
        assert model.port == port
        async with session.post(model.url, data=question(3)) as got:
            assert await got.read() == answer("m", question(3))


async def test_the_control_path_changes_the_mood_in_a_process_of_its_own() -> None:
    async with model_process("m") as (_, url), aiohttp.ClientSession() as session:
        await set_mood(url, mode="error")
        async with session.post(url, data=question(1)) as got:
            assert got.status == 500
