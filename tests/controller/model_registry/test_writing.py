"""Promise: however often and wherever the writes of an event are interrupted, done again they end the same: the alias
where the last event says, each tag as the last event says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.registry import RegistryConfig
from proxy.controller.model_registry.endpoint import FINAL, GIVE_UP_AFTER, RegistryEndpoint, write
from proxy.controller.model_registry.mlflow_client import RegistryError
from proxy.controller.model_registry.writing import update_of
from proxy.controller.webhooks.policy import AttemptAnswer, AttemptResult, WebhookEvent


class FakeMlflow:
    """Aliases and tags in memory; each call but for the first `spared` ones fails, before or after it took effect."""

    def __init__(self, alias: str = "") -> None:
        self.champion, self.tags = alias, dict[tuple[str, str], str]()
        self.deleted = set[str]()
        self.spared, self.late = -1, False

    def _call(self, effect: Any = lambda: None) -> None:
        if self.spared == 0:
            if self.late:
                effect()
            raise RegistryError("no answer")
        self.spared -= 1
        effect()

    async def version_of_alias(self, model: str, alias: str) -> str:
        self._call()
        return self.champion

    async def tag(self, model: str, version: str, key: str) -> str:
        self._call()
        return self.tags.get((version, key), "")

    async def set_tag(self, model: str, version: str, key: str, value: str) -> None:
        if version in self.deleted:
            raise RegistryError("gone", 404, "RESOURCE_DOES_NOT_EXIST")
        self._call(lambda: self.tags.update({(version, key): value}))

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        self._call(lambda: setattr(self, "champion", version))

    @property
    def seen(self) -> tuple[str, dict[tuple[str, str], str]]:
        return self.champion, self.tags


def event(kind: str, version: str, state: str, at: float = 0.0, replaces: dict[str, Any] | None = None) -> WebhookEvent:
    lineage = {"registry": "mlflow", "model": "m", "version": version}
    data = {"rollout": "r/c", "version": version, "state": state, "stage": state, "reason": "why", "lineage": lineage}
    return WebhookEvent(f"e{at}", f"rollout.{kind}", at, data | {"replaces": replaces})


LIFE = [
    event("began", "2", "shadow", 1.0),
    event("advanced", "2", "canary", 2.0),
    event("promoted", "2", "promoted", 3.0),
    event("rolled_back", "2", "rolled_back", 4.0),
]


async def told(mlflow: FakeMlflow, one: WebhookEvent) -> None:
    update = update_of(one)
    assert update is not None
    await write(update, "champion", mlflow)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12), st.sampled_from(["", "1"]))
async def test_a_life_that_is_interrupted_ends_as_one_that_is_not(faults: list[tuple[int, bool]], alias: str) -> None:
    whole, broken = FakeMlflow(alias), FakeMlflow(alias)
    left = list(faults)
    for one in LIFE:
        await told(whole, one)
        while left:
            broken.spared, broken.late = left.pop()
            try:
                await told(broken, one)
                break
            except RegistryError:
                broken.spared = -1
        broken.spared = -1
        await told(broken, one)
        assert broken.seen == whole.seen, one.type
    assert whole.champion == alias, "rolled back after it was promoted: the alias is where it was"


async def test_an_alias_that_somebody_else_has_moved_since_stays() -> None:
    mlflow = FakeMlflow("1")
    for one in LIFE[:3]:
        await told(mlflow, one)
    mlflow.champion = "5"
    await told(mlflow, LIFE[3])
    assert mlflow.champion == "5"


async def test_one_that_was_never_promoted_here_moves_nothing() -> None:
    mlflow = FakeMlflow("2")
    await told(mlflow, event("rolled_back", "2", "rolled_back"))
    assert mlflow.champion == "2"


async def test_who_is_replaced_under_way_is_superseded_and_who_had_ended_stays_as_it_was() -> None:
    mlflow = FakeMlflow()
    before = {"version": "2", "state": "canary", "lineage": {"model": "m", "version": "2"}}
    await told(mlflow, event("began", "3", "shadow", replaces=before))
    assert mlflow.tags["2", "understudy.state"] == "superseded"
    mlflow.tags.clear()
    await told(mlflow, event("began", "4", "shadow", replaces=before | {"state": "rolled_back"}))
    assert ("2", "understudy.state") not in mlflow.tags
    mlflow.deleted.add("2")
    await told(mlflow, event("began", "5", "shadow", replaces=before))
    assert mlflow.tags["5", "understudy.state"] == "shadow", "a version that was deleted holds nothing up"
    mlflow.deleted.add("6")
    with pytest.raises(RegistryError, match="gone"):
        await told(mlflow, event("began", "6", "shadow"))


def test_a_trial_of_the_file_tells_no_registry() -> None:
    assert update_of(WebhookEvent("e", "rollout.promoted", 0.0, {"lineage": None, "replaces": None})) is None


def test_an_attempt_is_made_again_for_a_week_unless_nothing_can_come_of_it() -> None:
    endpoint = RegistryEndpoint("m", "champion", RegistryConfig.model_construct())
    one = event("promoted", "2", "promoted")
    for attempts in range(1, 50):
        step = endpoint.judge(AttemptAnswer(0, error="no answer"), attempts, one, 1000.0, 0.5)
        assert step.result is AttemptResult.RETRY
        assert step.at is not None
        assert 1000.0 < step.at <= 1030.0, "one that is back is told soon"
    late = endpoint.judge(AttemptAnswer(503), 9, one, GIVE_UP_AFTER, 0.0)
    assert late.result is AttemptResult.GAVE_UP
    assert endpoint.judge(AttemptAnswer(FINAL), 1, one, 1.0, 0.0).result is AttemptResult.GAVE_UP
