"""Promise: a registry may post to any replica: the leader takes it, every replica's workers ask the named version, and
the next leader goes on with it."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.e2e.fleets import fleet
from tests.e2e.harness import served
from tests.e2e.test_registry import SECRET, name, post, signed
from tests.postgres import Postgres
from tests.registry_world import NAME, Versions, config, load

PATIENCE = 60.0


@pytest.mark.chaos
async def test_a_post_to_a_standby_is_tried_on_all_replicas_and_by_the_next_leader(
    tmp_path: Path, postgres: Postgres
) -> None:
    versions = Versions("1", "2", "3")
    registry = {"http": {"secret": SECRET}, "models": {"fraud model": {"upstream": "next"}}}
    async with served(versions.app()) as models:
        whole = {key: value for key, value in config(models, 0, registry).items() if key != "admin"}
        async with fleet(tmp_path, postgres.url, whole, replicas=2) as it:
            leader = await it.leader(PATIENCE)
            (standby,) = [one for one in it.replicas if one is not leader]
            bad = b'{"model": "fraud model", "version": "9"}'
            assert (await post(standby, bad, signed(bad, "d-0") | {"webhook-id": "d-9"}))[0] == 401
            assert (await name(standby, "2", "d-1"))["result"] == "begun"
            async with load(standby.data_url, 50.0):
                await leader.until(NAME, lambda one: one["version"] == "2" and one["ledger"]["compared"] > 20, PATIENCE)
            assert versions.asked["2"] > 20
            assert (await leader.stop()) == 0
            other = await it.leader(PATIENCE, but=leader)
            assert other is standby
            rollout = await other.until(NAME, lambda one: one["version"] == "2", PATIENCE)
            assert rollout["lineage"]["version"] == "2"
            body = b'{"model": "fraud model", "version": "2", "run": "run-1", "data": "d@1"}'
            async with aiohttp.request("GET", f"{other.admin_url}/api/v1/registry") as shown:
                assert (await shown.json())["registry"]["models"][0]["named_by"] == "http"
            assert (await post(other, body, signed(body, "d-1")))[1]["result"] == "repeated"
            assert (await name(other, "3", "d-2"))["result"] == "begun"
            await other.until(NAME, lambda one: one["version"] == "3", PATIENCE)
