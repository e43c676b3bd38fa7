"""What is wrong with prices: keys that do not go together, and rollouts that ask what answers cost of no price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from proxy.config.text import Path
from proxy.evidence.rules.registry import GUARDS
from proxy.model.price import Price

if TYPE_CHECKING:
    from proxy.config.price import PriceConfig
    from proxy.config.tree import Config
    from proxy.model import Plan


def check_price(path: Path, price: PriceConfig | None, blame: Callable[..., None], *, grpc: bool = False) -> None:
    """Note what is wrong between the keys of a `price` at `path`, of a server that speaks gRPC or not."""
    given = price.model_fields_set if price is not None else {"hour"}
    of_tokens = [key for key in ("input", "output", "cached_input", "cache_write", "per") if key in given]
    if "hour" in given and of_tokens:
        problem = "has no meaning beside `hour`"
        blame((*path, of_tokens[0]), problem, "tokens are paid for, or the time of a machine")
    elif "hour" not in given and "input" not in given:
        blame(path, "has neither `input` nor `hour`", "write prices per 1M tokens, or that of an hour of the machine")
    elif "hour" not in given and "concurrency" in given:
        blame(
            (*path, "concurrency"), "has no meaning without `hour`", "tokens cost the same however many requests wait"
        )
    elif "input" in given and grpc:
        blame((*path, "input"), "tokens in gRPC responses are not counted", "write the `hour` of a machine")


def check_priced(config: Config, blame: Callable[..., None]) -> None:
    """Note every rollout that asks what answers cost of which one arm has no price."""
    for n, route in enumerate(config.routes):
        for m, rollout in enumerate(route.open_rollouts):
            asking = [("guards", guard.name) for guard in rollout.limits if GUARDS[guard.name].priced]
            asking += [("mirror", "max_cost")] if rollout.mirror.max_cost is not None else []
            free = [name for name in (route.live, rollout.candidate) if name in config.upstreams]
            free = [name for name in free if config.upstreams[name].price is None]
            if asking and free:
                named = " and ".join(f"`{name}`" for name in free)
                verb = "have" if free[1:] else "has"
                hint = f"give `upstreams.{free[0]}` a `price`"
                blame(("routes", n, "rollouts", m, *asking[0]), f"{named} {verb} no price", hint)


def price_warnings(plan: Plan) -> Iterator[str]:
    """What is allowed of the prices of two arms and most likely not meant."""
    prices = {plan.live: plan.live_price, plan.candidate: plan.candidate_price}
    priced = [name for name, price in prices.items() if price is not None]
    free = [name for name, price in prices.items() if price is None]
    if priced and free:
        yield f"{priced[0]} has a `price` and {free[0]} has none, so costs are not compared or forecast"
    if plan.live_price == Price() and any(GUARDS[guard.name].priced for guard in plan.guards):
        yield f"{plan.live} costs nothing, so `max_cost` has no ratio to judge and never passes"
