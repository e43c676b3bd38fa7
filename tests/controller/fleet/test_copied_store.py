"""Promise: replicas that start on a store which `understudy store copy` has written find a leader, all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proxy.controller.fleet.dialling import LeaderAddress, NotTakenError, dial
from proxy.controller.fleet.member import Member
from proxy.controller.store.postgres.copying import PostgresCopied
from proxy.controller.store.postgres.session import Session
from proxy.pairs.replicas import ReplicaHello
from tests.controller.fleet.test_member import DEADLINE, Part, eventually
from tests.postgres import Postgres


@asynccontextmanager
async def member(url: Postgres, name: str, part: Part) -> AsyncIterator[Member]:
    one = Member(name, "1", f"{name}:9091", 5.0, lambda former: Session.connect(url.target, former), part)
    running = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.drain()
        await asyncio.wait_for(running, DEADLINE)


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "under way"])
async def test_one_leads_and_the_other_follows_it(postgres: Postgres, finished: bool) -> None:
    copied = await PostgresCopied.target(postgres.target)
    if finished:
        await copied.finish()
    parts = {"a": Part(), "b": Part()}
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(member(postgres, name, part)) for name, part in parts.items()]
        if not finished:
            await asyncio.gather(*(eventually(lambda one=one: one.election.asked) for one in members))
            assert not [one for one in members if one.leads]
            await copied.finish()
        await eventually(lambda: sum(one.leads for one in members) == 1)
        leader = next(one.name for one in members if one.leads)
        (part,) = (part for name, part in parts.items() if name != leader)
        await eventually(lambda: part.done)
        assert set(part.done) == {f"follow {leader}"}, "nobody else is followed on the way"


async def test_an_address_that_is_none_is_told_and_tried_again() -> None:
    with pytest.raises(NotTakenError, match="the leader's address in the store, '', is no HOST:PORT"):
        await dial(LeaderAddress("", 1, None), ReplicaHello("b", "1"), lambda *_: None, lambda _: None)
