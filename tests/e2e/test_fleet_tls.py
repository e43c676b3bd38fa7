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


@asynccontextmanager
async def secured(folder: Path, url: str, cas: list[str]) -> AsyncIterator[Fleet]:
    """A fleet whose replicas have certificates of these authorities, and believe these alone."""
    for ca in sorted(set(cas)):
        certificate(folder, ca)
        certificate(folder, f"of-{ca}", ca)

    def own(number: int) -> dict[str, Any]:
        ca = cas[number]
        files = {"cert": f"of-{ca}.pem", "key": f"of-{ca}.key", "ca": f"{ca}.pem"}
        return {"fleet": {"tls": {key: str(folder / name) for key, name in files.items()}}}

    strangers = {number for number, ca in enumerate(cas) if ca != cas[0]}
    async with (
        model_process("live") as (_, live),
        model_process("c") as (_, candidate),
        fleet(folder, url, settings(live, candidate), len(cas), own=own, alone=strangers) as it,
    ):
        yield it


async def test_pairs_tables_and_requests_go_over_tls(tmp_path: Path, postgres: Postgres) -> None:
    async with secured(tmp_path, postgres.url, ["ours", "ours"]) as it:
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
async def test_a_certificate_of_another_authority_is_refused_by_both_ends(tmp_path: Path, postgres: Postgres) -> None:
    async with secured(tmp_path, postgres.url, ["ours", "theirs"]) as it:
        leader, stranger = it.replicas
        assert await it.leads(leader)
        await it.until(lambda: _said(it), PATIENCE)
        (refused, *_) = leader.events("link.refused")
        (cut_off, *_) = stranger.events("leader.cut_off")
        assert refused["reason"] == "tls"
        assert "does not know the authority of our certificate" in refused["why"], refused
        assert "the other end's certificate is not of our authority" in cut_off["why"], cut_off
        async with Load(f"{stranger.data_url}/r/infer", 50.0) as load:
            await load.more(100)
        assert load.problems() == []
        assert load.by("live") == len(load.seen), "who is not let in serves its clients, by live alone"
        assert len((await leader.api("/api/v1/fleet"))["replicas"]) == 1


async def _said(it: Fleet) -> bool:
    return bool(it.events("link.refused") and it.events("leader.cut_off"))
