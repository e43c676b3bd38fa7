"""What is wrong between the lines: names that lead nowhere, names given twice, plans that cannot be carried out.

Each check looks at one thing and blames the path where the owner would correct it. A plan that is allowed but surely
not meant (a limit that can never pass, say) is a warning of `words`, not a mistake.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from os.path import normpath
from urllib.parse import urlsplit

from proxy.config.blaming import Blamer
from proxy.config.drift_checks import check_drift
from proxy.config.dual_write import check_dual_write
from proxy.config.durations import check_durations
from proxy.config.fleet import check_fleet
from proxy.config.grpc import check_grpc
from proxy.config.guard_checks import check_aspects, check_guards, check_srm
from proxy.config.identity import check_oidc, check_tokens, check_user_header
from proxy.config.judge_checks import check_judges
from proxy.config.match_checks import check_fork, check_reachable, check_reserved
from proxy.config.names import collide, is_loopback
from proxy.config.price_checks import check_price, check_priced
from proxy.config.registry_checks import check_registry
from proxy.config.route import PredictionConfig, RolloutConfig, RouteConfig
from proxy.config.server import UpstreamConfig
from proxy.config.signing import signing_key
from proxy.config.text import Document, Path, show
from proxy.config.tree import Config
from proxy.config.types import Section
from proxy.fields.set_json import rules
from proxy.fields.set_message import FIELDS as FIELDS_SET
from proxy.fields.set_message import problem
from proxy.http.credentials import HEADERS
from proxy.model import BUCKETS, Kind, Stage, State
from proxy.model.worker_config import DEFAULT_ROUTE
from proxy.predictions.expressions import expression_problem
from proxy.predictions.protocol import Protocol
from proxy.predictions.registry import PROTOCOLS
from proxy.spelling import nearest
from proxy.units import duration

_PROOFS = ("token", "tokens", "oidc", "trusted_user_header")
"""Keys of `admin` that ask people for a proof."""


def check(config: Config, document: Document, broken: set[Path]) -> Blamer:
    """Note every mistake between the lines of `config` in `document`; `broken` paths are blamed already. What notes
    them is returned, for checks that follow."""
    blame = Blamer(document, broken)
    named = document.data.get("upstreams")  # as the file names them, also those that are mistaken
    known = list(named) if isinstance(named, dict) else []
    if not known and not blame.is_broken(("upstreams",)):
        blame(("upstreams",), "no model server is named")
    if not config.routes and config.default is None and not blame.is_broken(("routes",)):
        blame(("routes",), "no request would be answered", "write a route, or `default: {live: …}`")
    _sides(config, blame)
    check_grpc(config, blame)
    check_durations(config, blame)
    check_priced(config, blame)
    check_fleet(config.fleet, config.store.url is not None, blame)
    check_judges(config, blame)
    check_drift(config, blame)
    check_registry(config, blame)
    _webhooks(config, blame)
    _watching(config, blame)
    _files(config, blame)
    if config.default is not None:
        _known(("default", "live"), config.default.live, known, blame)
    _twice((("routes", n, "name") for n in range(len(config.routes))), [r.name for r in config.routes], "route", blame)
    check_reachable(config, blame)
    for n, route in enumerate(config.routes):
        _route(("routes", n), route, known, blame)
        check_fork(n, config, blame)
    return blame


def _sides(config: Config, blame: Blamer) -> None:
    _ports(config, blame)
    admin, broken = config.admin, any(blame.is_broken(("admin", key)) for key in _PROOFS)
    if not admin.asks_who and not is_loopback(admin.listen) and not broken:
        blame(
            ("admin", "listen"),
            f"{admin.listen} is reachable from other hosts",
            "set `admin.token`, or use 127.0.0.1",
        )
    routes = [*(route.name for route in config.routes), DEFAULT_ROUTE]
    check_tokens(admin.token, admin.tokens, routes, blame)
    if admin.two_person is not None:
        _positive(("admin", "two_person"), blame, promote_full=admin.two_person.promote_full)
        if not admin.asks_who and not broken:
            blame(("admin", "two_person"), "nobody proves who they are here", "set `admin.tokens` or `admin.oidc`")
    if admin.oidc is not None:
        check_oidc(admin.oidc, admin.url, config.fleet is not None, routes, blame)
    if admin.trusted_user_header is not None:
        plain = config.fleet is not None and config.fleet.tls is None
        check_user_header(admin.trusted_user_header, plain, routes, blame)
    _positive(("server",), blame, controller_lost=config.server.controller_lost, watch=config.server.watch)
    for name, upstream in config.upstreams.items():
        path: Path = ("upstreams", name)
        if not blame.is_broken((*path, "price")):
            check_price((*path, "price"), upstream.price, blame, grpc=upstream.grpc)
        if upstream.health is not None:
            _positive((*path, "health"), blame, interval=upstream.health.interval)
        tls = upstream.tls
        if tls is not None and (tls.cert is None) != (tls.key is None):
            blame((*path, "tls"), "`cert` and `key` go together")
        known = not any(blame.is_broken((*path, key)) for key in ("url", "urls"))
        if tls is not None and known and not any(url.startswith(("https:", "grpcs:")) for url in upstream.urls):
            blame((*path, "tls"), "no URL of this upstream is https or grpcs")
        schemes = sorted({url.partition(":")[0] for url in upstream.urls})
        if len(schemes) > 1:
            blame((*path, "urls"), f"{' and '.join(schemes)} mixed")
        _twice(((*path, "urls", n) for n in range(len(upstream.urls))), upstream.urls, "URL", blame)
        _positive((*path, "resolve"), blame, every=upstream.resolve.every)
        _fields_set((*path, "set_json"), upstream, blame)
        patience = {"timeout": upstream.timeout, "connect_timeout": upstream.connect_timeout}
        _positive(path, blame, **patience, idle_timeout=upstream.idle_timeout)
    limits, timeouts = config.server.limits, config.server.timeouts
    if limits.max_header < 1024:
        blame(("server", "limits", "max_header"), "less than 1KiB refuses ordinary requests")
    times = config.admin.timeouts
    _positive(("admin", "timeouts"), blame, header=times.header, body=times.body, idle=times.idle)
    _positive(
        ("server", "timeouts"),
        blame,
        header=timeouts.header,
        body=timeouts.body,
        request=timeouts.request,
        idle=timeouts.idle,
    )


def _fields_set(path: Path, upstream: UpstreamConfig, blame: Blamer) -> None:
    for pointer, value in upstream.set_json.items():
        try:
            rules({pointer: value})
        except ValueError as error:
            blame((*path, pointer), str(error))
            continue
        wrong = problem(pointer, value) if upstream.grpc else ""
        if wrong:
            blame((*path, pointer), wrong, f"over gRPC one of {', '.join(f'`/{name}`' for name in FIELDS_SET)}")


def _ports(config: Config, blame: Blamer) -> None:
    """Two that listen on one address: the second would get none of it, or with SO_REUSEPORT half of it."""
    listening: list[tuple[Path, str | None]] = [
        (("server", "listen"), config.server.listen),
        (("admin", "listen"), config.admin.listen),
        (("server", "grpc_listen"), config.server.grpc_listen),
        (("fleet", "listen"), config.fleet.listen if config.fleet is not None else None),
    ]
    for n, (path, here) in enumerate(listening):
        taken = [other for other, there in listening[:n] if here and there and collide(here, there)]
        if taken:
            blame(path, f"{here} is taken by `{show(taken[0])}`", "each needs its own port")


def _watching(config: Config, blame: Blamer) -> None:
    if config.tracing is not None and not _has_otlp():
        blame(("tracing",), "exporting traces needs packages", "pip install 'understudy[otel]'")
    if config.tracing is not None and urlsplit(config.tracing.otlp).query:
        blame(("tracing", "otlp"), "a base URL has no query", "a key belongs under `headers:`")
    access = config.log.access
    if access is not None:
        _positive(("log", "access"), blame, max_size=access.max_size)
        if round(access.share * BUCKETS) < 1:
            blame(("log", "access", "share"), "selects no request", "at least 0.01%")
        if access.path is None and config.log.level in ("warning", "error"):
            problem = f"request lines have level info, which `level: {config.log.level}` suppresses"
            blame(("log", "access"), problem, "give it a `path`")


def _files(config: Config, blame: Blamer) -> None:
    """Two that write to one file, or rotate it, destroy it."""
    found: list[tuple[Path, str]] = [(("store", "path"), config.store.path)] if config.store.url is None else []
    if config.log.access is not None and config.log.access.path is not None:
        found.append((("log", "access", "path"), config.log.access.path))
    for n, route in enumerate(config.routes):
        for m, rollout in enumerate(route.rollouts):
            if rollout.record is not None:
                found.append((("routes", n, "rollouts", m, "record", "path"), rollout.record.path))
    _twice((path for path, _ in found), [normpath(name) for _, name in found], "file", blame)


def _has_otlp() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # nor what it is a part of
        return False


def _webhooks(config: Config, blame: Blamer) -> None:
    for n, webhook in enumerate(config.webhooks):
        path: Path = ("webhooks", n)
        twins = [m for m, other in enumerate(config.webhooks[:n]) if other.url == webhook.url]
        if twins:
            blame((*path, "url"), f"the same receiver as webhooks[{twins[0]}]", "one entry may name several events")
        for m, secret in enumerate(webhook.secrets):
            try:
                signing_key(secret.get_secret_value())
            except ValueError as error:
                blame((*path, "secrets", m), f"cannot sign: {error}", "`whsec_` and base64, or any other text")


def _positive(path: Path, blame: Blamer, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and value <= 0:
            blame((*path, key), "must be more than 0")


def _known(path: Path, name: str, known: list[str], blame: Blamer) -> None:
    if name not in known:
        hint = nearest(name, known) or (f"known: {', '.join(known)}" if known else "")
        blame(path, f"there is no upstream `{name}`", hint)


def _twice(paths: Iterable[Path], names: Iterable[str], what: str, blame: Blamer) -> None:
    first: dict[str, Path] = {}
    for path, name in zip(paths, names, strict=True):
        if name in first:
            there = blame.document.place(first[name], path)
            blame(path, f"the {what} `{name}` is defined twice", f"first at {there}")
        first.setdefault(name, path)


def _route(path: Path, route: RouteConfig, known: list[str], blame: Blamer) -> None:
    check_reserved(path, route, blame)
    _known((*path, "live"), route.live, known, blame)
    candidates = [rollout.candidate for rollout in route.rollouts]
    _twice(((*path, "rollouts", n, "candidate") for n in range(len(candidates))), candidates, "candidate", blame)
    _one((*path, "sticky"), route.sticky, ("header", "cookie", "json"), blame)
    if route.sticky is not None and route.sticky.json == "":
        blame((*path, "sticky", "json"), "is the whole body", "name a field of it, such as /parameters/sequence_id")
    check_dual_write((*path, "dual_write"), route, known, blame)
    _one((*path, "segments"), route.segments, ("header", "request_field"), blame)
    _in_pairs((*path, "segments", "header"), route.segments.header if route.segments else None, blame)
    check_aspects(path, route, blame)
    for name, rule in route.aspects.items():
        _prediction((*path, "predictions", name) if name else (*path, "prediction"), rule, blame)
    starters = [n for n, rollout in enumerate(route.rollouts) if rollout.ladder and rollout.ladder[0].weight > 0]
    for n in starters[1:]:
        problem = f"starts with a canary, as rollouts[{starters[0]}] does, and only one may have a weight at a time"
        blame((*path, "rollouts", n), problem, "begin with a `shadow` stage")
    for n, rollout in enumerate(route.rollouts):
        here = (*path, "rollouts", n)
        _known((*here, "candidate"), rollout.candidate, known, blame)
        _in_pairs((*here, "cluster_by", "header"), rollout.cluster_by.header if rollout.cluster_by else None, blame)
        _stages(here, rollout, blame)
        check_guards(here, rollout, route.aspects, blame)
        check_srm(here, rollout, blame, sticky=route.sticky is not None)
        _costs(here, rollout, blame)


def _one(path: Path, section: Section | None, keys: tuple[str, ...], blame: Blamer) -> None:
    given = [f"`{key}`" for key in keys if section is not None and getattr(section, key) is not None]
    if section is not None and len(given) != 1 and not blame.is_broken(path):
        named = given or [f"`{key}`" for key in keys]
        blame(path, f"has {'both' if given else 'neither'} of {' and '.join(named)}", "write one of them")


def _in_pairs(path: Path, header: str | None, blame: Blamer) -> None:
    if header is not None and header.lower() in HEADERS:
        blame(
            path,
            f"`{header}` carries credentials, which no pair holds",
            "use a header that identifies without authenticating",
        )


def _prediction(path: Path, rule: PredictionConfig, blame: Blamer) -> None:
    if rule.low >= rule.high:
        blame((*path, "low"), f"{rule.low:g} is not below `high` ({rule.high:g})")
    known = PROTOCOLS.get(rule.protocol)
    if known is not None:
        _given(path, rule, known, blame)
    for key in ("pointer", "jmespath"):
        if getattr(rule, key) and known is not None and not known.pointed:
            pointed = " or ".join(f"`protocol: {one.name}`" for one in PROTOCOLS.values() if one.pointed)
            blame((*path, key), f"has no meaning with `protocol: {known.name}`", f"use {pointed}")
    if rule.pointer and rule.jmespath:
        blame((*path, "jmespath"), "conflicts with `pointer`", "write one of them")
    if rule.jmespath and (problem := expression_problem(rule.jmespath)):
        blame((*path, "jmespath"), f"is not a JMESPath expression: {problem}", "e.g. `results[*].score`")
    if rule.schema is not None and rule.kind is not Kind.JSON:
        blame((*path, "schema"), f"has no meaning for predictions of kind `{rule.kind}`", "write `kind: json`")
    elif rule.schema_problem:
        blame((*path, "schema"), rule.schema_problem)
    _positive(path, blame, label_delay=rule.label_delay)
    of_one = {"low": Kind.SCORE, "high": Kind.SCORE, "threshold": Kind.SCORE, "event": Kind.LABEL}
    for key in sorted(rule.model_fields_set & of_one.keys()):
        if rule.kind not in (of_one[key], Kind.AUTO):
            hint = "only a label is one" if key == "event" else "only a score has a range"
            blame((*path, key), f"has no meaning for predictions of kind `{rule.kind}`", hint)
    if rule.threshold is not None and not rule.low <= rule.threshold < rule.high:
        problem = f"{rule.threshold:g} is not from `low` ({rule.low:g}) to below `high` ({rule.high:g})"
        blame((*path, "threshold"), problem, "every score or none would be positive")


def _given(path: Path, rule: PredictionConfig, protocol: Protocol, blame: Blamer) -> None:
    """What is asked of an answer is something that answers of this protocol have."""
    output = rule.output
    if output and protocol.pointed:
        blame((*path, "output"), f"has no meaning with `protocol: {protocol.name}`", "use `pointer`")
    elif output and protocol.outputs and output not in protocol.outputs:
        hint = f"{nearest(output, protocol.outputs)} There are {', '.join(protocol.outputs)}".strip()
        blame((*path, "output"), f"`{output}` is no output of `protocol: {protocol.name}`", hint)
    if rule.kind not in protocol.kinds | {Kind.AUTO}:
        problem = f"`protocol: {protocol.name}` has no predictions of kind `{rule.kind}`"
        blame((*path, "kind"), problem, f"it has {', '.join(kind for kind in Kind if kind in protocol.kinds)}")


def _stages(path: Path, rollout: RolloutConfig, blame: Blamer) -> None:
    for key in ("shadow", "canary"):
        if rollout.stages and getattr(rollout, key) is not None:
            blame((*path, key), "the short form conflicts with `stages`", "move it into `stages`")
    for n, rule in enumerate(rollout.stages):
        if not rule.is_one and not blame.is_broken((*path, "stages", n)):
            blame((*path, "stages", n), "a stage is either `shadow: 100%` or `canary: 5%`")
    if not rollout.ladder and not any(blame.is_broken((*path, key)) for key in ("shadow", "canary", "stages")):
        blame((*path, "stages"), "no stage", "write `shadow: 100%`, `canary: 5%`, or a list of stages")
    before = None
    for n, stage in enumerate(rollout.ladder):
        here = (*path, "stages", n) if rollout.stages else path
        if blame.is_broken(here) or (rollout.stages and not rollout.stages[n].is_one):
            continue
        _climb((*here, "shadow" if stage.kind is State.SHADOW else "canary"), stage, before, blame)
        _times(here, stage, rollout.stages[n].model_fields_set if rollout.stages else set(), blame)
        before = stage


def _climb(path: Path, stage: Stage, before: Stage | None, blame: Blamer) -> None:
    """A stage's share is one that can be given, and more than the one before."""
    if before is not None and stage.kind is State.SHADOW:
        problem = "a second shadow stage" if before.kind is State.SHADOW else "shadow after canary"
        blame(path, problem, "shadow comes once, first")
    elif before is not None and stage.weight <= before.weight and stage.weight > 0:
        blame(path, f"{stage.percent:g}% after {before.percent:g}%: stages climb", "raise it, or leave it out")
    if round(stage.percent * 100) < 1:
        blame(path, "gets no requests, so nothing can be measured", "at least 0.01%")
    elif abs(stage.percent * 100 - round(stage.percent * 100)) > 1e-9:
        blame(path, f"{stage.percent:g}% is finer than 0.01%")
    if stage.kind is State.CANARY and stage.weight >= BUCKETS:
        blame(path, "100% is promotion, which follows the last stage by itself", "leave this stage out")


def _times(path: Path, stage: Stage, given: set[str], blame: Blamer) -> None:
    if stage.max_time is not None and stage.max_time <= stage.min_time:
        problem = f"{duration(stage.max_time)} is not more than `min_time` ({duration(stage.min_time)})"
        blame((*path, "max_time"), f"{problem}: the stage can never pass")
    if stage.on_timeout == "abort" and stage.max_time is None:
        blame((*path, "on_timeout"), "has no effect without `max_time`")
    if stage.kind is State.SHADOW and "mirror" in given:
        blame((*path, "mirror"), "a shadow stage has its share in `shadow` already")


def _costs(path: Path, rollout: RolloutConfig, blame: Blamer) -> None:
    mirror, record = rollout.mirror, rollout.record
    if mirror.max_memory < 4 * mirror.max_body:
        problem = "too small for one pair, which is up to four bodies"
        blame((*path, "mirror", "max_memory"), f"{problem} of `max_body`", "raise it, or lower `max_body`")
    _positive((*path, "mirror"), blame, timeout=mirror.timeout)
    if not isinstance(rollout.fallback.after, str):
        _positive((*path, "fallback"), blame, after=rollout.fallback.after)
    _positive(path, blame, lead_time_slo=rollout.lead_time_slo)
    if record is not None and not record.path.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
        blame((*path, "record", "path"), "ends neither in .jsonl nor in .jsonl.gz or .jsonl.zst")
    if record is not None and record.path.endswith(".zst") and importlib.util.find_spec("zstandard") is None:
        blame((*path, "record", "path"), ".zst needs a package", "pip install 'understudy[zstd]', or end it in .gz")
    _positive((*path, "record"), blame, **({"share": record.share, "max_size": record.max_size} if record else {}))
