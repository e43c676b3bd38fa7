"""`suggest`: what two honest models differ by, from a running rollout or a recording, as limits to paste."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.termui import progressbar

from proxy.cli.judge import plan_of
from proxy.cli.judging import judge_trials
from proxy.cli.recordings import recorded_pairs
from proxy.cli.table import printable
from proxy.config import Config
from proxy.config.checks import FITS
from proxy.config.effort import is_latency
from proxy.config.proposals import FEW, Measured, Proposal, about, latency_seconds, pass_seconds, propose
from proxy.config.units import Tolerance, duration, percent_text, tolerance
from proxy.errors import UnderstudyError
from proxy.model import Guard, Kind, Plan
from proxy.rollout.requirements import rough

GENEROUS = (
    Guard("max_disagreement", 0.5),
    Guard("max_mean_shift", 0.5),
    Guard("max_ks", 0.5),
    Guard("max_psi", 2.0),
    Guard("max_big_change", 0.5, tolerance=0.1),
    Guard("max_spread_change", 4.0),
    Guard("min_similarity", 0.1),
    Guard("p99_latency", 5.0, relative=True),
    Guard("median_latency", 5.0, relative=True),
    Guard("max_extra_errors", 0.5),
    Guard("max_response_mismatch", 0.5),
)
"""Limits under which everything is measured and hardly anything fails."""


def generous(plan: Plan) -> Plan:
    """The plan with every guard that can judge its predictions; its own tolerance and absolute latency limits stay."""
    kind, own = plan.prediction.kind, {guard.name: guard for guard in plan.guards}
    found = [guard for guard in GENEROUS if kind in FITS.get(guard.name, {kind}) or kind is Kind.AUTO]
    if plan.prediction.protocol == "none":
        found = [guard for guard in found if guard.name not in FITS]
    if kind in (Kind.LABEL, Kind.RANKING, Kind.TEXT, Kind.AUTO):  # whose changes have no size of their own
        found = [guard for guard in found if guard.name != "max_big_change"]
    if kind is Kind.NUMBER:
        found = [
            replace(g, limit=4.0) if g.name == "max_mean_shift"
            else replace(g, relative=True, tolerance=1.0) if g.name == "max_big_change"
            else g
            for g in found
        ]  # fmt: skip
    kept = {name: guard for name, guard in own.items() if is_latency(guard) and not guard.relative}
    if "max_big_change" in own:
        kept["max_big_change"] = replace(own["max_big_change"], limit=0.5)
    names = {guard.name for guard in found}
    more = tuple(guard for name, guard in kept.items() if name not in names)
    return replace(plan, guards=(*(kept.get(guard.name, guard) for guard in found), *more))


class Found(NamedTuple):
    """What two models differ by: the rollout, the kind of its predictions, and the guards that do not measure yet."""

    name: str
    kind: Kind
    measured: Sequence[Measured]
    missing: Sequence[str] = ()


def of_recording(path: Path, config: Config, name: str) -> Found:
    """What the latest trial in a recording measured; every guard that fits does."""
    plan = generous(plan_of(config, path, name))
    with progressbar(recorded_pairs(path), label="suggest", file=sys.stderr, show_pos=True) as pairs:
        judged = judge_trials(plan, pairs)
    if not judged:
        raise UnderstudyError(f"{path}: there is no pair in it")
    guards = {guard.name: guard for guard in plan.guards}
    findings = [f for f in [*judged.values()][-1].assessment.findings if f.segment is None]
    measured = [
        Measured(f.guard, f.value, f.low, f.high, f.pairs, guards[f.guard].relative, guards[f.guard].tolerance,
                 f.burst_size)
        for f in findings
    ]  # fmt: skip
    return Found(plan.name, plan.prediction.kind, [one for one in measured if one.value is not None])


def of_rollout(rollout: dict[str, Any]) -> Found:
    """The same of a rollout as the admin API answers; what has no guard is not measured."""
    measured = []
    for finding in rollout["findings"]:
        if finding.get("segment") is not None or finding["value"] is None:
            continue
        said = rollout["guards"].get(finding["guard"], "").partition(" beyond ")[2]
        size = tolerance(float(said) if said and not said.endswith("iqr") else said) if said else Tolerance(0.0, False)
        relative = size.in_ranges or finding["unit"] == "times"
        value, low, high, pairs = (finding[key] for key in ("value", "low", "high", "pairs"))
        bursts = finding.get("burst_size", 1.0)
        measured.append(Measured(finding["guard"], value, low, high, pairs, relative, size.size, bursts))
    missing = [guard.name for guard in GENEROUS if guard.name not in rollout["guards"]]
    return Found(rollout["name"], Kind(rollout["kind"]), measured, missing)


def show(found: Found, rates: Sequence[float], *, as_json: bool) -> int:
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
    if guard.name == "max_big_change":
        size = Tolerance(guard.tolerance, guard.relative)
        return f"{{tolerance: {size}, rate: {percent_text(100 * guard.limit)}}}"
    if is_latency(guard):
        return f"{guard.limit:g}x" if guard.relative else duration(guard.limit)
    return percent_text(100 * guard.limit) if guard.name in _SHARES else f"{guard.limit:g}"


_SHARES = ("max_disagreement", "max_extra_errors", "max_response_mismatch")


def _yaml(found: Found, proposals: Sequence[Proposal], rates: Sequence[float]) -> list[str]:
    most = max((one.measured.pairs for one in proposals), default=0)
    at = " and ".join(f"{rate:g}" for rate in rates)
    lines = [
        f"# {printable(found.name)}: limits at about twice what its two models differed by, over {most:,} pairs.",
        "# They are right where both are honest: live, and live's own recipe trained once more. What passes is a",
        f"# candidate like the one measured. Times are at {at} requests/s, all of them compared.",
        "guards:",
    ]
    for one in proposals:
        lines += _lines(one, found.kind, rates)
    if found.missing:
        lines += ["# Not measured, having no guard: these measure it, and hardly ever fail.", "#"]
        kept = [guard for guard in GENEROUS if guard.name in set(found.missing)]
        lines += [f"#   {guard.name}: {written(guard)}" for guard in kept]
    return lines


def _lines(one: Proposal, kind: Kind, rates: Sequence[float]) -> list[str]:
    found, guard = one.measured, one.guard
    figures = [_figure(found, value) for value in (found.value, found.low, found.high)]
    said = f"measured {figures[0]} ({figures[1]} … {figures[2]})"
    if guard is None:
        return [f"  # {found.guard}: {said} over {found.pairs:,} pairs, too much for a limit"]
    passes, fails = _costs(one, guard, kind, rates)
    costs = [f"passes {passes}", f"at twice the limit fails {fails}"]
    lines = [f"  # {said}; {', '.join(costs)}"]
    if found.pairs < FEW:
        lines.append(f"  # only {found.pairs:,} pairs: the interval decides more than the models; wait for {FEW:,}")
    return [*lines, f"  {guard.name}: {written(guard)}"]


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
    if is_latency(Guard(measured.guard, 1.0)):
        return f"{value:.3g}x" if measured.relative else duration(float(f"{value:.3g}"))
    share = measured.guard in _SHARES or measured.guard == "max_big_change"
    return f"{100 * value:.3g}%" if share else f"{value:.3g}"
