"""What is wrong between the lines where gRPC is spoken: who speaks it, who listens, what has no meaning there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.config.text import Path
from proxy.fields.hash_key import HashKey
from proxy.fields.sticky import FIELDS as READ
from proxy.fields.sticky import in_message
from proxy.json_pointer import parse_pointer
from proxy.predictions.registry import PROTOCOLS

if TYPE_CHECKING:
    from proxy.config.route import RouteConfig
    from proxy.config.tree import Config

_Blame = Callable[..., None]

FIELDS = ("/model_name", "/model_version", "/id", "/parameters", "/inputs", "/outputs", "/raw_input_contents")
"""The fields of a ModelInferRequest; `prediction.ignore` may name them. A test holds it to `predictions.v2_grpc`."""


def check_grpc(config: Config, blame: _Blame) -> None:
    """Note every mistake about gRPC."""
    lives: list[tuple[Path, str]] = [(("routes", n, "live"), route.live) for n, route in enumerate(config.routes)]
    if config.default is not None:
        lives.append((("default", "live"), config.default.live))
    spoken = [path for path, name in lives if speaks(config, name)]
    listen = config.server.grpc_listen
    if listen is None and spoken:
        blame(spoken[0], "speaks gRPC, but there is no gRPC listener", "set `server.grpc_listen`, e.g. 0.0.0.0:8081")
    if listen is not None:
        where: Path = ("server", "grpc_listen")
        if not spoken:
            blame(where, "no route has a live upstream that speaks gRPC", "write its URL as `grpc://HOST:PORT`")
    for n, route in enumerate(config.routes):
        _route(("routes", n), config, route, blame)


def speaks(config: Config, upstream: str) -> bool:
    """Whether a named upstream speaks gRPC; one that is not there does not."""
    return upstream in config.upstreams and config.upstreams[upstream].grpc


def _route(path: Path, config: Config, route: RouteConfig, blame: _Blame) -> None:
    grpc = speaks(config, route.live)
    for n, rollout in enumerate(route.rollouts):
        if rollout.candidate in config.upstreams and speaks(config, rollout.candidate) is not grpc:
            words = ("HTTP", "gRPC")
            problem = f"speaks {words[not grpc]}, and live ({route.live}) {words[grpc]}"
            blame((*path, "rollouts", n, "candidate"), problem, "the two arms get the same request")
        here = (*path, "rollouts", n, "mirror")
        if grpc and rollout.mirror.max_tokens_per_minute:
            blame((*here, "max_tokens_per_minute"), "tokens in gRPC responses are not counted", "leave it out")
    both = route.dual_write
    if both is not None and both.upstream in config.upstreams and speaks(config, both.upstream) is not grpc:
        blame((*path, "dual_write", "upstream"), "uses another protocol than live", "the two get the same request")
    if not grpc:
        return
    pointer = route.sticky.json if route.sticky is not None else None
    fields = f"`/parameters/NAME`, {', '.join(f'`/{name}`' for name in READ)}"
    if pointer is not None and not in_message(parse_pointer(pointer)):
        blame((*path, "sticky", "json"), "is not a supported field of ModelInferRequest", f"one of {fields}")
    for name in {route.live, *(rollout.candidate for rollout in route.rollouts)} & config.upstreams.keys():
        by = config.upstreams[name].balance
        if isinstance(by, HashKey) and by.kind == "json" and not in_message(parse_pointer(by.name)):
            blame(
                ("upstreams", name, "balance"),
                f"{by.name} is not a supported field of ModelInferRequest",
                f"one of {fields}",
            )
    if route.match.methods and "POST" not in route.match.methods:
        blame((*path, "match", "methods"), "every gRPC call is a POST", "leave `methods` out")
    if route.segments is not None and route.segments.request_field is not None:
        blame((*path, "segments", "request_field"), "a gRPC message is not JSON", "use `header`: metadata")
    for name, rule in route.aspects.items():
        here = (*path, "predictions", name) if name else (*path, "prediction")
        known = PROTOCOLS.get(rule.protocol)
        if known is not None and not known.grpc:
            read = " or ".join(f"`{one.name}`" for one in PROTOCOLS.values() if one.grpc)
            problem = f"`{known.name}` is not read from gRPC"
            blame((*here, "protocol"), problem, f"use {read} (ModelInfer), or leave `{here[2]}` out")
        for n, pointer in enumerate(rule.ignore):
            if pointer not in FIELDS:
                blame((*here, "ignore", n), "is not a field of ModelInferRequest", f"one of {', '.join(FIELDS)}")
