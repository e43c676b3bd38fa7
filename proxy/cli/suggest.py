"""`suggest`: how much two equivalent models differ, from a running rollout or a recording, as limits to paste."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.termui import progressbar

from proxy.cli.judge import plan_of
from proxy.cli.judging import judge_trials
from proxy.cli.table import printable
from proxy.config import Config
from proxy.config.effort import is_latency
from proxy.config.proposals import FEW, Measured, Proposal, about, latency_seconds, pass_seconds, propose
from proxy.controller.recordings import recorded_pairs
from proxy.errors import UnderstudyError
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard, Kind, Plan
from proxy.rollout.requirements import rough
from proxy.significant import significant
from proxy.units import Tolerance, duration, tolerance


def generous_plan(plan: Plan) -> Plan:
    """The plan with every guard that can judge its predictions, under limits that hardly ever fail; its own tolerance
    and absolute latency limits stay."""
    kinds = {spec.name: spec.kind for spec in plan.aspects}
    priced = plan.live_price is not None and plan.candidate_price is not None
    found = {guard.key: guard for guard in generous_guards(kinds, priced=priced) if _reads(guard, plan)}
    for guard in plan.guards:
        if GUARDS[guard.name].timed and not guard.relative:
            found[guard.key] = guard
        elif guard.tolerance:
            found[guard.key] = replace(guard, limit=0.5)
    return replace(plan, guards=tuple(found.values()))


def generous_guards(kinds: Mapping[str, Kind], *, priced: bool = False) -> list[Guard]:
    """Every guard that measures predictions of these kinds (by their names), under a limit that hardly ever fails; that
    on cost where both arms are `priced`."""
    named = [(name, kind, known) for name, kind in kinds.items() for known in GUARDS.values() if known.reads]
    every = [*named, *(("", Kind.AUTO, known) for known in GUARDS.values() if not known.reads)]
    found = [(name, kind, known, known.generous(kind)) for name, kind, known in every]
    found = [one for one in found if priced or not one[2].priced]
    return [replace(g, aspect=name) for name, kind, known, g in found if g is not None and known.judges(g, kind)]


def _reads(guard: Guard, plan: Plan) -> bool:
    """Whether the predictions of a plan are read, if this guard needs any."""
    return plan.prediction_of(guard).protocol != "none" or not GUARDS[guard.name].reads


class Found(NamedTuple):
    """What two models differ by: the rollout, the kinds of its predictions by their names, and the guards that do not
    measure yet."""

    name: str
    kinds: Mapping[str, Kind]
    measured: Sequence[Measured]
    missing: Sequence[str] = ()


def of_recording(path: Path, config: Config, name: str) -> Found:
    """What the latest trial in a recording measured; every guard that fits does."""
    plan = generous_plan(plan_of(config, path, name))
    with progressbar(recorded_pairs(path), label="suggest", file=sys.stderr, show_pos=True) as pairs:
        judged = judge_trials(plan, pairs)
    if not judged:
        raise UnderstudyError(f"{path}: it contains no pairs")
    guards = {guard.key: guard for guard in plan.guards}
    findings = [f for f in [*judged.values()][-1].assessment.findings if f.segment is None]
    measured = [
        Measured(f.guard, f.value, f.low, f.high, f.pairs, guards[f.key].relative, guards[f.key].tolerance,
                 f.burst_size, f.aspect)
        for f in findings
    ]  # fmt: skip
    return Found(
        plan.name, {spec.name: spec.kind for spec in plan.aspects}, [one for one in measured if one.value is not None]
    )


def of_rollout(rollout: dict[str, Any]) -> Found:
    """The same of a rollout as the admin API answers; what has no guard is not measured."""
    measured = []
    for finding in rollout["findings"]:
        if finding.get("segment") is not None or finding["value"] is None or finding.get("of") == "users":
            continue  # how much less its users may do is no matter of how much two equal models differ
        said = rollout["guards"].get(finding["key"], "").partition(" beyond ")[2]
        size = tolerance(float(said) if said and not said.endswith("iqr") else said) if said else Tolerance(0.0, False)
        relative = size.in_ranges or finding["unit"] == "times"
        value, low, high, pairs = (finding[key] for key in ("value", "low", "high", "pairs"))
        bursts = finding.get("burst_size", 1.0)
        measured.append(
            Measured(finding["guard"], value, low, high, pairs, relative, size.size, bursts, finding["aspect"])
        )
    kinds = {name: Kind(kind) for name, kind in (rollout["kinds"] or {"": rollout["kind"]}).items()}
    every = generous_guards(kinds, priced=bool(rollout.get("cost")))
    missing = [guard.key for guard in every if guard.key not in rollout["guards"]]
    return Found(rollout["name"], kinds, measured, missing)


def print_proposals(found: Found, rates: Sequence[float], *, as_json: bool) -> int:
    """Print the proposals, as YAML with the words in comments or as JSON; the exit code."""
    proposals = [propose(one, len(found.measured)) for one in found.measured]
    if as_json:
        entries = [_entry(one) for one in proposals]
        click.echo(
            json.dumps({"rollout": found.name, "guards": entries, "not_measured": list(found.missing)}, indent=2)
        )
    else:
        click.echo("\n".join(_yaml(found, proposals, rates)))
    return 0 if any(one.guard for one in proposals) else 1


def _entry(one: Proposal) -> dict[str, Any]:
    found = asdict(one.measured)
    plain = {key: None if isinstance(v, float) and not isfinite(v) else v for key, v in found.items()}
    pairs = {"pairs_to_pass": one.to_pass, "pairs_to_fail_at_twice_the_limit": one.to_fail}
    finite = {key: round(n) if isfinite(n) else None for key, n in pairs.items()}
    return {**plain, "limit": written(one.guard) if one.guard else None, **finite}


def written(guard: Guard) -> str:
    """A limit as the file has it.

    >>> written(Guard("p99_latency", 1.2, True)), written(Guard("max_big_change", 0.01, True, 2.0))
    ('1.2x', '{tolerance: 2iqr, rate: 1%}')
    """
    return GUARDS[guard.name].unit.written(guard)


def _yaml(found: Found, proposals: Sequence[Proposal], rates: Sequence[float]) -> list[str]:
    most = max((one.measured.pairs for one in proposals), default=0)
    at = " and ".join(f"{rate:g}" for rate in rates)
    lines = [
        f"# {printable(found.name)}: limits at about twice what its two models differed by, over {most:,} pairs.",
        "# They fit two equivalent models: live, and live's own recipe trained once more. A candidate",
        f"# like the one measured passes. Times are at {at} requests/s, all of them compared.",
        "guards:",
    ]
    for aspect, own in _by_aspect(proposals).items():
        indent = "    " if aspect else "  "
        lines += [f"  {aspect}:"] * bool(aspect)
        lines += [indent + line for one in own for line in _lines(one, found.kinds.get(aspect, Kind.AUTO), rates)]
    if found.missing:
        lines += ["# Not measured yet: no guard did. These limits measure it and hardly ever fail.", "#"]
        kept = [guard for guard in generous_guards(found.kinds, priced=True) if guard.key in found.missing]
        named = dict.fromkeys(guard.aspect for guard in kept)
        for aspect in named:
            lines += [f"#   {aspect}:"] * bool(aspect)
            indent = "    " if aspect else "  "
            lines += [f"# {indent}{guard.name}: {written(guard)}" for guard in kept if guard.aspect == aspect]
    return lines


def _by_aspect(proposals: Sequence[Proposal]) -> dict[str, list[Proposal]]:
    found: dict[str, list[Proposal]] = {}
    for one in proposals:
        found.setdefault(one.measured.aspect, []).append(one)
    return found


def _lines(one: Proposal, kind: Kind, rates: Sequence[float]) -> list[str]:
    found, guard = one.measured, one.guard
    figures = [_figure(found, value) for value in (found.value, found.low, found.high)]
    said = f"measured {figures[0]} ({figures[1]} … {figures[2]})"
    if guard is None:
        return [f"# {found.guard}: {said} over {found.pairs:,} pairs, too much for a limit"]
    passes, fails = _costs(one, guard, kind, rates)
    costs = [f"passes {passes}", f"at twice the limit fails {fails}"]
    lines = [f"# {said}; {', '.join(costs)}"]
    if found.pairs < FEW:
        lines.append(f"# only {found.pairs:,} pairs: the interval matters more than the models; wait for {FEW:,}")
    return [*lines, f"{guard.name}: {written(guard)}"]


def _costs(one: Proposal, guard: Guard, kind: Kind, rates: Sequence[float]) -> tuple[str, str]:
    """What a pass costs, and a fail at twice the limit: pairs, and the time that they take at each rate."""
    if is_latency(guard):
        both = zip(*(latency_seconds(guard, rate) for rate in rates), strict=True)
        passes, fails = (f"after about {_times(seconds)}" for seconds in both)
        return passes, fails
    times = [pass_seconds(one, guard, kind, rate) for rate in rates], [one.to_fail / rate for rate in rates]
    pairs = one.to_pass, one.to_fail
    passes, fails = (f"after about {about(n)} pairs ({_times(t)})" for n, t in zip(pairs, times, strict=True))
    return passes, fails


def _times(seconds: Iterable[float]) -> str:
    return " and ".join(dict.fromkeys(map(rough, seconds)))


def _figure(measured: Measured, value: float | None) -> str:
    if value is None or not isfinite(value):
        return "–"
    kind = GUARDS[measured.guard]
    if kind.timed:
        return f"{significant(value, 3)}x" if measured.relative else duration(float(f"{value:.3g}"))
    return f"{significant(100 * value, 3)}%" if kind.effort.events else significant(value, 3)
