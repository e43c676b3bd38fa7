"""Promise: a name whose lookup hangs holds up nobody else, piles nothing up, and keeps no process from ending; what was
found once stays in use while later lookups fail."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.aiohttp_resolver import OwnResolver
from proxy.resolver import MAX_ADDRESSES, ResolvedName, Resolver, system

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 5.0


class NameServer:
    """A `look_up`: names in `silent` hang until `go` is set, those in `addresses` are known, others are not."""

    def __init__(self, **addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.go = threading.Event()

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if host in self.silent:
            assert self.go.wait(30)
        if host not in self.addresses:
            raise OSError(f"no such host: {host}")
        return self.addresses[host]


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer()
    yield server
    server.go.set()


def threads_of(host: str) -> int:
    return sum(thread.name == f"lookup {host}" for thread in threading.enumerate())


async def test_a_lookup_that_hangs_delays_no_other(server: NameServer) -> None:
    server.silent, server.addresses = {f"slow{n}" for n in range(8)}, {"quick": ("10.0.0.1",)}
    resolver = Resolver(server)
    hanging = [asyncio.create_task(resolver.name(host).known()) for host in server.silent]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(resolver.name("quick").known(), PATIENCE) == ("10.0.0.1",)
    assert not any(task.done() for task in hanging)
    server.addresses |= dict.fromkeys(server.silent, ("10.0.0.2",))
    server.go.set()
    assert await asyncio.wait_for(asyncio.gather(*hanging), PATIENCE) == [("10.0.0.2",)] * 8


async def test_one_lookup_of_a_name_at_a_time_however_many_ask_and_leave(server: NameServer) -> None:
    server.silent, server.addresses = {"slow"}, {"slow": ("10.0.0.1",)}
    name = Resolver(server).name("slow")
    for _ in range(30):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await name.known()
    assert (server.asked, threads_of("slow")) == (["slow"], 1)
    last = asyncio.create_task(name.known())
    await asyncio.sleep(0)
    server.go.set()
    assert await asyncio.wait_for(last, PATIENCE) == ("10.0.0.1",)
    assert server.asked == ["slow"]
    assert not name.busy


@pytest.mark.parametrize("host", ["10.0.0.7", "::1", "fe80::1%eth0"])
async def test_a_literal_address_passes_through_no_thread(host: str, server: NameServer) -> None:
    name = Resolver(server).name(host)
    assert await name.known() == (host,)
    name.doubt()
    assert (server.asked, name.busy) == ([], False)


async def test_the_last_good_addresses_stay_while_lookups_fail(
    server: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.addresses = {"a": ("10.0.0.1", "10.0.0.2")}
    resolver = Resolver(server)
    name = resolver.name("a")
    await name.known()
    server.addresses = {}
    for _ in range(3):
        await name.renew().wait()
        assert await name.known() == ("10.0.0.1", "10.0.0.2")
    assert resolver.failures == 3
    server.addresses = {"a": ("10.0.0.3",)}
    await name.renew().wait()
    assert await name.known() == ("10.0.0.3",)
    server.addresses = {"a": ("10.0.0.4",)}
    await name.renew().wait()
    await name.renew().wait()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["name.failed", "name.found", "name.changed"], "one line for each change, none for each lookup"


@pytest.mark.parametrize("found", [(), None])
async def test_a_name_that_is_not_known_is_an_error_and_asked_for_again(
    found: tuple[str, ...] | None, server: NameServer
) -> None:
    if found is not None:
        server.addresses = {"a": found}
    name = Resolver(server).name("a")
    for _ in range(2):
        with pytest.raises(OSError, match="a"):
            await name.known()
    assert server.asked == ["a", "a"]


async def test_a_name_that_cannot_be_one_is_an_error_too() -> None:
    with pytest.raises(UnicodeError):
        await ResolvedName("a..b", system).known()


async def test_followers_hear_of_other_addresses_alone(server: NameServer) -> None:
    server.addresses = {"a": ("1.1.1.1", "2.2.2.2")}
    name, heard = Resolver(server).name("a"), []

    def told() -> None:
        heard.append(name.addresses)

    name.follow(told)
    await name.known()
    server.addresses = {"a": ("2.2.2.2", "1.1.1.1")}
    await name.renew().wait()
    server.addresses = {}
    await name.renew().wait()
    assert heard == [("1.1.1.1", "2.2.2.2")], "neither of another order nor of a failure"
    server.addresses = {"a": ("3.3.3.3",)}
    await name.renew().wait()
    assert heard[1:] == [("3.3.3.3",)]
    name.unfollow(told)
    server.addresses = {"a": ("4.4.4.4",)}
    await name.renew().wait()
    assert len(heard) == 2


async def test_of_too_many_addresses_the_same_ones_are_used(
    server: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "understudy.resolver")
    many = tuple(f"10.0.{n // 250}.{n % 250}" for n in range(MAX_ADDRESSES + 40))
    name, heard = Resolver(server).name("a"), []
    name.follow(lambda: heard.append(name.addresses))
    for order in (many, many[::-1], many[7:] + many[:7]):
        server.addresses = {"a": order}
        await name.renew().wait()
    assert [len(addresses) for addresses in heard] == [MAX_ADDRESSES]
    assert [record.getMessage() for record in caplog.records] == ["name.too_many"]


async def test_an_address_that_fails_has_its_name_looked_up_but_not_at_once_again(server: NameServer) -> None:
    """Whoever has moved is found before the name's time; a dead server does not have its name server asked for ever."""
    server.addresses = {"a": ("1.1.1.1",)}
    name = Resolver(server).name("a")
    await name.known()
    name.doubt()
    assert not name.busy
    name.asked -= 2.0
    server.addresses = {"a": ("2.2.2.2",)}
    name.doubt()
    await asyncio.wait_for(name.renew().wait(), PATIENCE)
    assert await name.known() == ("2.2.2.2",)
    assert server.asked == ["a", "a"]


async def test_the_next_address_is_tried_when_one_refuses_or_swallows(server: NameServer) -> None:
    """As of `localhost` that is ::1 first, with a server on 127.0.0.1 alone."""
    server.addresses = {"a": ("::1", "2.2.2.2", "127.0.0.1")}
    resolver, tried = Resolver(server), []

    async def attempt(address: str) -> str:
        tried.append(address)
        if address == "::1":
            raise ConnectionRefusedError
        if address == "2.2.2.2":
            await asyncio.Event().wait()
        return address

    assert await resolver.connect("a", attempt, 0.3) == "127.0.0.1"
    assert tried == ["::1", "2.2.2.2", "127.0.0.1"]


async def test_an_attempt_ends_in_time_whatever_hangs(server: NameServer) -> None:
    server.silent, server.addresses = {"slow"}, {"b": ("1.1.1.1", "2.2.2.2")}
    resolver = Resolver(server)

    async def never(address: str) -> None:
        await asyncio.Event().wait()

    for host in ("slow", "b", "127.0.0.1"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolver.connect(host, never, 0.02), PATIENCE)


async def test_a_client_in_aiohttp_gets_its_addresses_the_same_way(server: NameServer) -> None:
    server.silent, server.addresses = {"slow"}, {"quick": ("10.0.0.1", "::1")}
    resolver = OwnResolver(server)
    slow = asyncio.create_task(resolver.resolve("slow", 80))
    found = await asyncio.wait_for(resolver.resolve("quick", 443, 0), PATIENCE)
    assert [(one["host"], one["port"], one["hostname"]) for one in found] == [
        ("10.0.0.1", 443, "quick"),
        ("::1", 443, "quick"),
    ]
    await resolver.resolve("quick", 443, 0)
    assert sorted(server.asked) == ["quick", "slow"]
    slow.cancel()


def test_a_process_ends_though_a_lookup_hangs() -> None:
    program = """
import asyncio, sys, threading
from proxy.resolver import Resolver
def look_up(host): threading.Event().wait()
async def main():
    try:
        await Resolver(look_up).connect("slow", None, 0.01)
    except TimeoutError:
        print("timeout")
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert (ran.stdout, ran.stderr) == ("timeout\n", "")
