"""Promise: replicas talk to each other over TLS, and only to those that have a certificate of the fleet's authority;
who has another is told why, and told of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleets import NAME, Fleet, fleet, settings
from tests.fakes import Load, certificate, model_process
from tests.postgres import Postgres

PATIENCE = 60.0
OURS = ("ours", "ours")
"""Whose certificate it has, and whose it believes."""


@asynccontextmanager
async def secured(folder: Path, url: str, papers: list[tuple[str, str]]) -> AsyncIterator[Fleet]:
    """A fleet whose replicas have a certificate of one authority, and believe one; those of `OURS` are of the fleet."""
    for ca in ("ours", "theirs"):
        certificate(folder, ca)
        certificate(folder, f"of-{ca}", ca)

    def own(number: int) -> dict[str, Any]:
        of, believes = papers[number]
        files = {"cert": f"of-{of}.pem", "key": f"of-{of}.key", "ca": f"{believes}.pem"}
        return {"fleet": {"tls": {key: str(folder / name) for key, name in files.items()}}}

    strangers = {number for number, one in enumerate(papers) if one != OURS}
    async with (
        model_process("live") as (_, live),
        model_process("c") as (_, candidate),
        fleet(folder, url, settings(live, candidate), len(papers), own=own, alone=strangers) as it,
    ):
        yield it


async def test_pairs_tables_and_requests_go_over_tls(tmp_path: Path, postgres: Postgres) -> None:
    async with secured(tmp_path, postgres.url, [OURS, OURS]) as it:
        leader = await it.settled()
        (standby,) = await it.standbys()
        async with Load(f"{standby.data_url}/r/infer", 50.0) as load:  # all pairs are a standby's
            await leader.until(NAME, lambda rollout: rollout["state"] == "canary", PATIENCE)
            await load.until(lambda: load.by("c") > 0, PATIENCE)
            await standby.api(f"/api/v1/rollouts/{NAME}/abort", {"reason": "by hand"})
        assert load.problems() == []
        assert (await leader.rollout(NAME))["state"] == "rolled_back"
        (entry,) = leader.events("rollout.rolled_back")
        assert entry["reason"] == "by hand"
        assert not it.events("link.refused")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("papers", "leader_says", "stranger_says"),
    [
        (("theirs", "theirs"), "It may not take our certificate", "certificate is not of our authority"),
        (("theirs", "ours"), "certificate is not of our authority", "It may not take our certificate"),
    ],
    ids=["believes another authority", "is of another authority"],
)
async def test_a_certificate_of_another_authority_is_refused_and_both_ends_say_so(
    tmp_path: Path, postgres: Postgres, papers: tuple[str, str], leader_says: str, stranger_says: str
) -> None:
    async with secured(tmp_path, postgres.url, [OURS, papers]) as it:
        leader, stranger = it.replicas
        assert await it.leads(leader)
        await it.until(lambda: _said(it), PATIENCE)
        (refused, *_), (cut_off, *_) = leader.events("link.refused"), stranger.events("leader.cut_off")
        assert leader_says in refused["why"], refused
        assert stranger_says in cut_off["why"], cut_off
        async with Load(f"{stranger.data_url}/r/infer", 50.0) as load:
            await load.more(100)
        assert load.problems() == []
        assert load.by("live") == len(load.seen), "who is not let in serves its clients, by live alone"
        assert len((await leader.api("/api/v1/fleet"))["replicas"]) == 1


async def _said(it: Fleet) -> bool:
    return bool(it.events("link.refused") and it.events("leader.cut_off"))
