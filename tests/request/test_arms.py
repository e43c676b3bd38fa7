"""Promise: which arm answers and which requests are sampled is drawn by hash, bounded, and told in the books."""

from __future__ import annotations

import pytest

from proxy.model import Lane, State
from proxy.request.routing import bucket, salt
from tests.request.test_exchange import CANARY, GOOD, LIVE, SHADOW, pairs_of
from tests.worker.rig import Model, always, eventually, hang, ok, parsed, rig


async def test_buckets_are_nested_and_sticky() -> None:
    config = SHADOW.replace("    prediction:", "    sticky: {header: x-user}\n    prediction:")
    async with rig(config, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        await it.lane()
        salt = it.trial.serve_salt
        for weight in (2_000, 6_000):
            await it.lane(weight=weight)
            for user in range(30):
                name = b"user-%d" % user
                _, headers, _ = await it.ask(b"{}", b"X-User: " + name)
                assert headers["x-served-by"] == ("v2" if bucket(salt, name) < weight else "v1")


async def test_override() -> None:
    config = SHADOW.replace("    prediction:", "    override: {header: x-arm}\n    prediction:")
    async with rig(config, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        await it.lane(share=0)
        status, headers, _ = await it.ask(b"{}", b"X-Arm: candidate")
        assert (status, headers["x-understudy-error"]) == (403, "override_refused")
        await it.lane(weight=1, share=0)
        assert (await it.ask(b"{}", b"X-Arm: candidate"))[1]["x-served-by"] == "v2"
        await it.lane(weight=CANARY, share=0)
        assert (await it.ask(b"{}", b"X-Arm: live"))[1]["x-served-by"] == "v1"
        assert (await it.ask(b"{}", b"X-Arm: third"))[0] == 403
        assert it.trial.sampled == 0


TWO = SHADOW.replace("  v2:", "  v3: {url: '{2}'}\n  v2:").replace(
    "      - candidate: v2", "      - {candidate: v3, latency_block: 0s, shadow: 100%}\n      - candidate: v2"
)


async def test_two_rollouts_share_one_live_answer() -> None:
    live = Model(always(LIVE))
    async with rig(TWO, (live, Model(always(GOOD)), Model(always(ok(b"3"))))) as it:
        trials = {t.settings.name: t for t in it.worker.trials.values()}
        lanes = [
            Lane(name, t.settings.trial, State.SHADOW, CANARY if name == "r/v2" else 0, 10_000, 1)
            for name, t in trials.items()
        ]
        await it.controller.publish(*lanes)
        assert (await it.ask())[1]["x-served-by"] == "v2"
        found = {pair.trial: pair for pair in await pairs_of(it, 2)}
        assert found[trials["r/v2"].settings.trial].candidate.body == b'{"a":2}'
        assert found[trials["r/v3"].settings.trial].candidate.body == b"3"
        assert len(live.calls) == 1


async def test_noise_floor_asks_live_twice() -> None:
    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {noise_floor: 100%}")
    live = Model(always(LIVE))
    async with rig(config, (live, Model(always(GOOD)))) as it:
        await it.lane()
        await it.ask()
        (pair,) = await pairs_of(it, 1)
        assert pair.again is not None
        assert pair.again.body == b'{"a":1}'
        assert len(live.calls) == 2


async def test_budget_of_copies_sheds_and_marks() -> None:
    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_in_flight: 1}")
    async with rig(config, (Model(always(LIVE)), Model(hang))) as it:
        await it.lane()
        for _ in range(4):
            assert (await it.ask())[0] == 200
        await pairs_of(it, 1)
        assert (it.trial.sampled, it.trial.shed) == (4, 3)
        await eventually(lambda: it.controller.marks.get(it.trial.settings.trial) == 4, "the mark")


@pytest.mark.parametrize("chunked", [False, True])
async def test_oversize_request_and_live_answer_are_excluded(chunked: bool) -> None:
    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_body: 1KB}")
    live = Model(always(LIVE))
    async with rig(config, (live, Model(always(GOOD)))) as it:
        await it.lane()
        if chunked:
            head = b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert parsed(await it.raw(head + b"7D0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"))[0] == 200
        else:
            assert (await it.ask(b"x" * 2000))[0] == 200
        live.script = always(ok(b"y" * 2000))
        assert len((await it.ask())[2]) == 2000
        await it.settled()
        assert (it.trial.sampled, it.trial.too_large, it.controller.pairs) == (2, 2, [])


async def test_share_is_chosen_by_hash_of_the_id() -> None:
    candidate = Model(always(GOOD))
    async with rig(SHADOW, (Model(always(LIVE)), candidate)) as it:
        await it.lane(share=5_000)
        names = [(await it.ask(b"{}"))[1]["x-request-id"] for _ in range(40)]
        chosen = {name for name in names if bucket(it.trial.sample_salt, name.encode()) < 5_000}
        assert {pair.id for pair in await pairs_of(it, len(chosen))} == chosen


async def test_a_caller_that_repeats_its_id_is_split_and_sampled_like_any_other() -> None:
    """Of 60 requests under one id each arm answers some, some are sampled and some not, and every pair has its own id.
    That all fall on one side by chance happens once in 2⁵⁹ runs."""
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(SHADOW, (live, candidate)) as it:
        trial = it.trial
        lane = Lane(trial.settings.name, trial.settings.trial, State.CANARY, 5_000, 10_000, 1, 5_000)
        await it.controller.publish(lane)
        told = [(await it.ask(b"{}", b"X-Request-Id: session-1"))[1] for _ in range(60)]
        assert {one["x-served-by"] for one in told} == {"v1", "v2"}
        assert {one["x-request-id"] for one in told} == {"session-1"}
        await it.settled()
        assert 0 < trial.sampled < 60
        found = await pairs_of(it, trial.sampled)
        assert len({pair.id for pair in found}) == len(found), "an id of its own for each pair"
        assert {pair.request_id for pair in found} == {"session-1"}, "the caller's id is there to look for"
        assert {call.headers["x-request-id"] for call in [*live.calls, *candidate.calls]} == {"session-1"}


async def test_which_sticky_keys_the_candidate_answers_depends_on_the_secret() -> None:
    config = SHADOW.replace("live: v1", "live: v1\n    sticky: {header: x-user}")
    async with rig(config, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        splits = []
        for secret in ("", "00" * 32, "11" * 32, "11" * 32):
            it.controller.secret = secret
            await it.lane(weight=5_000)
            salted = salt("r", "v2", it.trial.settings.version, "serve", secret=bytes.fromhex(secret))
            wanted = ["v2" if bucket(salted, b"u%d" % user) < 5_000 else "v1" for user in range(24)]
            assert [(await it.ask(b"{}", b"x-user: u%d" % user))[1]["x-served-by"] for user in range(24)] == wanted
            splits.append(wanted)
        assert splits[0] != splits[1] != splits[2] == splits[3]


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_a_token_budget_makes_fewer_pairs_by_the_hash_of_the_id_and_costs_no_request(weight: int) -> None:
    """Whoever serves: of what the candidate serves the copies go to live, and cost tokens too."""
    async with rig(SHADOW, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        trial, state = it.trial, State.CANARY if weight else State.SHADOW
        for affords in (0, 3_000):
            lane = Lane(trial.settings.name, trial.settings.trial, state, weight, 10_000, 1, affords)
            await it.controller.publish(lane)
            before, names = len(it.controller.pairs), []
            for _ in range(30):
                status, headers, _ = await it.ask(b"{}")
                assert status == 200
                names.append(headers["x-request-id"])
            wanted = [name for name in names if bucket(trial.sample_salt, name.encode()) < affords]
            found = await pairs_of(it, before + len(wanted))
            assert [pair.id for pair in found[before:]] == wanted
        assert trial.sampled == trial.sent == len(wanted) > 0
