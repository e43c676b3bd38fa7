"""A configuration in words: what each stage does, what it waits for, how long it takes, what was filled in, warnings.

This is what `understudy check` prints. A warning is something that is allowed and most likely not meant.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from proxy.config.drift_checks import drift_in_words, drift_warnings
from proxy.config.effort import is_latency, seconds_to_pass
from proxy.config.guards import IMPLIED
from proxy.config.judge_checks import judge_warnings, judges_in_words
from proxy.config.price_checks import price_warnings
from proxy.config.registry_checks import in_words, registry_warnings
from proxy.config.route import RolloutConfig, RouteConfig
from proxy.config.server import UpstreamConfig
from proxy.config.tree import Config
from proxy.config.trial_costs import AssumedAnswer, trial_costs
from proxy.config.verdict_costs import verdict_costs
from proxy.evidence.families.guard import Question
from proxy.evidence.rules.registry import GUARDS
from proxy.http.credentials import HEADERS
from proxy.model import Guard, Kind, Plan, Stage, State, guard_key
from proxy.money import money_text
from proxy.rollout.requirements import rough
from proxy.units import duration

ASSUMED = AssumedAnswer()
"""Answers whose cost `check` says, unless it is told of others."""
MOST_ALIKE = 4
"""Upstreams that one warning names."""
RATES = (10.0, 100.0, 1000.0)
"""Requests per second for which `check` says how long a stage takes, unless it is told others."""


def limit(guard: Guard) -> str:
    """A guard's limit as it is written in the file.

    >>> limit(Guard("p99_latency", 1.2, relative=True)), limit(Guard("max_disagreement", 0.02))
    ('1.2x', '2%')
    """
    return GUARDS[guard.name].unit.limit(guard)


def describe(config: Config, rates: Sequence[float] = RATES, answer: AssumedAnswer = ASSUMED) -> str:
    """The whole plan in words, ending with a line break; what copies cost is for answers like `answer`."""
    server = config.server
    calls = f", for gRPC on {server.grpc_listen}" if server.grpc_listen is not None else ""
    lines = [
        f"Listens on {server.listen} ({server.workers} workers){calls}, admin on {config.admin.listen}, state in "
        f"{config.store.where}.",
        *_fleet(config),
    ]
    for route in config.routes:
        owner = f" ({route.owner})" if route.owner is not None else ""
        lines += ["", f"Route {route.name}{owner}: {_match(route)} → {route.live}"]
        if route.dual_write is not None:
            both = route.dual_write
            text = f"each request goes to {both.upstream} first, which has {duration(both.timeout)} to answer"
            lines.append(f"  {text}, then to {route.live}, whose answer the client gets")
        elif not route.open_rollouts:
            lines.append("  no rollout: requests are forwarded, nothing is compared")
        lines += [_wrapped("  ", text) for text in drift_in_words(route)]
        for rollout in route.open_rollouts:
            lines += ["", *_rollout(config, route, rollout, rates)]
            plan = config.plan(route, rollout)
            lines += trial_costs(plan, rates, answer, rollout.mirror.max_cost)
            lines += verdict_costs(plan, config.asked, rates, answer)
    if config.default is not None:
        lines += ["", f"Everything else → {config.default.live}"]
    else:
        lines += ["", "Everything else gets 404" + (" (gRPC: UNIMPLEMENTED)." if calls else ".")]
    warned = list(warnings(config))
    if warned:
        lines += ["", "Warnings", *(f"  ! {warning}" for warning in warned)]
    return "\n".join(lines) + "\n"


def _fleet(config: Config) -> Iterator[str]:
    fleet = config.fleet
    if fleet is None:
        return
    how = "with mutual TLS" if fleet.tls is not None else "without TLS"
    text = f"One of a fleet, reached by the others at {fleet.reached_at} {how}. One of them leads and decides for all; "
    text += f"when it is gone another does at once, when it is frozen or cut off within {duration(fleet.lease)}."
    yield _wrapped("", text)


def _wrapped(start: str, text: str) -> str:
    return textwrap.fill(text, 110, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _match(route: RouteConfig) -> str:
    match = route.match
    words = ["/".join(match.methods) or "any method", match.path or "any path"]
    return " ".join(words) + "".join(f", {name}: {value}" for name, value in match.headers.items())


def _rollout(config: Config, route: RouteConfig, rollout: RolloutConfig, rates: Sequence[float]) -> Iterator[str]:
    plan = config.plan(route, rollout)
    registered = in_words(config, plan.candidate)
    yield f"  Rollout {plan.name}" + ("" if registered else f", version {plan.version}")
    if registered:
        yield _wrapped("    ", registered)
    for number, stage in enumerate(plan.stages, 1):
        yield _wrapped(f"    {number}. ", f"{stage.name}: {_stage(plan, stage)}")
    last = f"promoted: {plan.candidate} answers everything, {plan.live} gets the copies."
    yield _wrapped(f"    {len(plan.stages) + 1}. ", last)
    yield _wrapped("    ", f"Guards: {', '.join(f'{guard.key} {limit(guard)}' for guard in plan.guards)}.")
    risk, miss = plan.false_rollback_rate * 100, plan.false_promotion_rate * 100
    yield _wrapped(
        "    ",
        f"A candidate within all limits is rolled back with a chance of at most {risk:g}% in the whole trial; "
        f"one beyond a limit passes a stage with a chance of at most {miss:g}%. "
        f"{plan.consecutive_failures} failures of {plan.candidate} in a row roll it back at once.",
    )
    for text in (*_asked(config, plan, rollout), *judges_in_words(config, route.aspects)):
        yield _wrapped("    ", text)
    yield _wrapped("    ", "Filled in: " + "; ".join(_filled_in(config, rollout)) + ".")
    if rollout.guards is None:
        text = (
            f"No limit was chosen for this model yet: `understudy suggest {plan.name}` measures in shadow how much two"
        )
        yield _wrapped("    ", f"{text} equivalent models differ, and proposes limits with the time they take.")
    yield from _durations(plan, rates)


def _asked(config: Config, plan: Plan, rollout: RolloutConfig) -> Iterator[str]:
    """What the two arms are asked beside the client's own request, and what copies may cost."""
    if plan.noise_floor:
        named = " and ".join(guard.key for guard in plan.guards if GUARDS[guard.name].noise_floor) or "No guard"
        share = f"the {plan.noise_floor * 100:g}% of pairs for which live is asked twice"
        yield f"{named} judges what goes beyond live's own noise, from {share}."
    for name in (plan.live, plan.candidate):
        if fields := ", ".join(config.upstreams[name].set_json):
            yield f"{name} gets {fields} set in every request, served and copied."
    if rollout.mirror.max_tokens_per_minute:
        text = f"Copies may cost {rollout.mirror.max_tokens_per_minute:,} tokens a minute."
        yield f"{text} If they would cost more, fewer requests become pairs, and stages take longer."
    if rollout.mirror.max_cost:
        text = f"Copies may cost {money_text(rollout.mirror.max_cost.amount, config.currency)} "
        text += "a day" if rollout.mirror.max_cost.period > 3600 else "an hour"
        yield f"{text}, spread evenly. If they would cost more, fewer requests become pairs, and stages take longer."
    most = rollout.mirror.max_pairs_per_second
    if most == "auto":
        yield "As many requests become pairs as the controller can take, drawn by a hash of their id."
    elif most:
        yield f"Up to {most:,} pairs a second are made; of more requests some are drawn by a hash of their id."


def _durations(plan: Plan, rates: Sequence[float]) -> Iterator[str]:
    yield "    A good candidate passes in about"
    yield "      " + "stage".ljust(12) + "".join(f"at {rate:,g}/s".rjust(14) for rate in rates) + "   held up by"
    for stage in plan.stages:
        times = [seconds_to_pass(plan, stage, rate) for rate in rates]
        row = "".join(rough(seconds).rjust(14) for seconds, _ in times)
        yield f"      {stage.name:12}{row}   {', '.join(dict.fromkeys(why for _, why in times))}"
    for guard in plan.guards:
        if guard.relative and GUARDS[guard.name].effort.passing is not None:
            yield from _blocks_needed(plan, guard)


def _blocks_needed(plan: Plan, guard: Guard) -> Iterator[str]:
    one, many = GUARDS[guard.name].effort.passing or (0, 0)
    if not plan.latency_block:
        yield f"      ({guard.name} needs about {one:,} pairs, of which every one counts)"
        return
    least, block = rough(many * plan.latency_block), duration(plan.latency_block)
    yield f"      ({guard.name} needs about {one:,} blocks of {block} with one pair each, {many} with many: at least"
    yield f"      {least} per stage)"


def _stage(plan: Plan, stage: Stage) -> str:
    if stage.kind is State.SHADOW:
        does = f"{stage.percent:g}% of requests are copied to {plan.candidate}, which answers nobody"
    else:
        does = (
            f"{plan.candidate} answers {stage.percent:g}% of requests (copied to {plan.live}); "
            f"{stage.mirror:g}% of the others are copied to {plan.candidate}"
        )
    waits = [f"{stage.min_pairs:,} pairs"]
    if stage.kind is State.CANARY:
        waits.append(f"{min(200, stage.min_pairs)} of them answered by {plan.candidate}")
    if stage.min_time:
        waits.append(duration(stage.min_time))
    then = "then advances" if plan.on_pass == "advance" else "then waits for `understudy promote`"
    late = ""
    if stage.max_time is not None:
        action = "rolls back" if stage.on_timeout == "abort" else "waits for a person"
        late = f"; after {duration(stage.max_time)} without a pass it {action}"
    return f"{does}. Waits for {', '.join(waits)} and every guard to pass, {then}{late}."


def _filled_in(config: Config, rollout: RolloutConfig) -> list[str]:
    """The defaults that decide something, as they would be written."""
    found = []
    if rollout.guards is None:
        found.append("guards " + ", ".join(f"{guard.key}: {limit(guard)}" for guard in rollout.limits))
    elif len(rollout.limits) > len(rollout.guards.listed):
        found += [
            f"{one.name}: {limit(one)}, since no guard compares answers" for one in IMPLIED if one in rollout.limits
        ]
    if config.upstreams[rollout.candidate].version is None and rollout.candidate not in config.registered:
        found.append("version, a hash of the URLs")
    found += [
        text
        for key, text in (
            ("consecutive_failures", f"consecutive_failures: {rollout.consecutive_failures}"),
            ("false_rollback_rate", f"false_rollback_rate: {rollout.false_rollback_rate * 100:g}%"),
            ("false_promotion_rate", f"false_promotion_rate: {rollout.false_promotion_rate * 100:g}%"),
            ("latency_block", f"latency_block: {duration(rollout.latency_block)}"),
            ("warmup", f"warmup: {rollout.warmup}"),
            ("fallback", "fallback: auto"),
        )
        if key not in rollout.model_fields_set
    ]
    if any("min_pairs" not in rule.model_fields_set for rule in rollout.stages) or not rollout.stages:
        found.append("min_pairs: 1000")
    return found or ["nothing"]


def warnings(config: Config) -> Iterator[str]:
    """What is allowed and most likely not meant, one sentence each."""
    for route in config.routes:
        if len(route.rollouts) > len(route.open_rollouts):
            text = f"`{route.live}` is live, so its entry under `rollouts` has no effect and can be removed"
            yield f"{route.name}/{route.live}: {text} (to compare a model with itself, name its URL twice)"
    for route, rollout in config.rollouts():
        plan = config.plan(route, rollout)
        yield from (f"{plan.name}: {text}" for text in _rollout_warnings(plan, route, rollout))
    if any(True for _ in config.rollouts()) and not config.webhooks:
        yield "no webhook: a rollback is journaled and shown, but nobody is notified"
    yield from judge_warnings(config)
    yield from drift_warnings(config)
    yield from registry_warnings(config)
    yield from _store(config)
    for name, upstream in config.upstreams.items():
        if upstream.tls is not None and not upstream.tls.verify:
            yield f"upstream {name}: `verify: false` accepts any certificate"
    yield from _alike(config.upstreams)
    used = {route.live for route in config.routes}
    used |= {route.dual_write.upstream for route in config.routes if route.dual_write is not None}
    used |= {rollout.candidate for _, rollout in config.rollouts()}
    used |= {rule.similarity.upstream for route in config.routes for rule in route.aspects.values() if rule.similarity}
    used |= {config.default.live} if config.default else set()
    yield from (f"upstream {name} is not used" for name in config.upstreams if name not in used)


def _store(config: Config) -> Iterator[str]:
    """What a URL of PostgreSQL leaves open."""
    target = config.store.url.known() if config.store.url is not None else None
    if target is None or target.local or target.sslmode == "verify-full":
        return
    what = {
        "disable": "everything, the password too, goes over the network as it is",
        "prefer": "whoever is on the way decides whether anything is encrypted",
        "require": "the server's certificate is not looked at: anybody may be the server",
        "verify-ca": "any server with a certificate of that authority may be the database",
    }
    yield f"store.url with `sslmode={target.sslmode}`: {what[target.sslmode]}; `verify-full` knows the server by name"


def _alike(upstreams: Mapping[str, UpstreamConfig]) -> Iterator[str]:
    """Upstreams that nothing tells apart: a gateway gives the requests for both to one model."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, upstream in upstreams.items():
        for url in upstream.urls:
            groups.setdefault((url, repr(_told_by(upstream))), []).append(name)
    for names in sorted({tuple(names) for names in groups.values() if len(names) > 1}):
        more = [f"{len(names) - MOST_ALIKE} more"] if len(names) > MOST_ALIKE else []
        *most, last = [*names[:MOST_ALIKE], *more]
        text = "unless keys tell them apart, a model is compared with itself"
        yield f"upstreams {', '.join(most)} and {last} share address, host, path and `set_json`: {text}"


def _told_by(upstream: UpstreamConfig) -> tuple[object, ...]:
    """What a gateway may tell an upstream by, beside its URL."""
    plain = {name: value for name, value in upstream.headers.set.items() if name not in HEADERS}
    return upstream.host, upstream.path, upstream.set_json, plain


def _rollout_warnings(plan: Plan, route: RouteConfig, rollout: RolloutConfig) -> Iterator[str]:
    yield from _guard_warnings(plan)
    if plan.stages[0].kind is State.CANARY:
        yield "no shadow stage: its first responses go to clients"
    if plan.stages[-1].kind is State.SHADOW and plan.on_pass == "advance":
        yield "no canary stage: a pass in shadow sends it all traffic at once"
    if rollout.fallback.after == "off" and any(stage.weight for stage in plan.stages):
        yield "`fallback: off`: clients see the candidate's failures"
    if route.sticky is None and any(stage.weight for stage in plan.stages):
        yield "no `sticky`: one user may be answered by both models in turn"
    if plan.lead_time_slo is not None and plan.signed_off_at is None:
        yield "`lead_time_slo` is never measured without `signed_off_at` on the candidate's upstream"
    judged = {guard.aspect for guard in plan.guards if GUARDS[guard.name].reads}
    for spec in plan.predictions:
        if spec.name not in judged:
            yield f"prediction `{spec.name}` is read and shown, but no guard judges it"
    if any(spec.kind is Kind.TEXT and spec.name in judged for spec in plan.aspects) and not plan.noise_floor:
        yield "text models rarely repeat themselves; `mirror.noise_floor` measures how much live differs from itself"
    yield from price_warnings(plan)
    yield from _too_short(plan)


def _guard_warnings(plan: Plan) -> Iterator[str]:
    keys = {guard.key for guard in plan.guards}
    for guard in plan.guards:
        if guard.limit == 0:
            yield f"`{guard.key}: {limit(guard)}` can never pass: no number of pairs proves a difference of 0"
        if is_latency(guard) and guard.relative and guard.limit <= 1:
            yield f"`{guard.key}: {limit(guard)}` requires the candidate to beat live; an equal one never passes"
    kinds = [GUARDS[guard.name] for guard in plan.guards]
    for guard in plan.guards:
        beside = GUARDS[guard.name].beside
        if beside and guard_key(beside, guard.aspect) not in keys:
            yield f"{guard.key} leaves failures out, so it can pass only beside `{guard_key(beside, guard.aspect)}`"
    if not any(kind.question is Question.RELIABLE for kind in kinds):
        named = " or ".join(f"`{kind.name}`" for kind in GUARDS.values() if kind.question is Question.RELIABLE)
        yield f"without {named}, only failures in a row count against the candidate"
    if not any(kind.compares or kind.question is Question.COMPATIBLE for kind in kinds):
        yield "nothing compares the answers: a redirect, an empty answer or a page of HTML counts as a good one"
    if plan.noise_floor and not any(kind.noise_floor for kind in kinds):
        named = " and ".join(kind.name for kind in GUARDS.values() if kind.noise_floor)
        yield f"`mirror.noise_floor` asks live twice, but no guard uses it ({named} do)"


def _too_short(plan: Plan) -> Iterator[str]:
    for stage in plan.stages:
        fastest, why = seconds_to_pass(plan, stage, rate=1e9)
        if stage.max_time is not None and fastest > stage.max_time:
            took = (
                f"takes at least about {rough(fastest)} ({why})" if fastest < float("inf") else f"never passes ({why})"
            )
            yield f"{stage.name}: `max_time` is {duration(stage.max_time)}, but the stage {took}"
