"""`judge` and `replay`: what they read, what they print, and the exit code."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import ssl
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.termui import progressbar

from proxy.cli.gate import Gate, gate, junit, report
from proxy.cli.judging import audit, judge, judge_trials, summary_words
from proxy.cli.table import cost_words, printable
from proxy.config import Config
from proxy.config.names import header, header_value, url
from proxy.config.postgres_url import StoreUrl
from proxy.config.text import filled
from proxy.controller.recordings import is_store, journal_entries, recorded_pairs, recorded_rollout
from proxy.errors import UnderstudyError
from proxy.fields.set_json import rules
from proxy.json_pointer import last_member
from proxy.model import Plan, Verdict
from proxy.pairs.recording import Recorded
from proxy.rfc3339 import rfc3339
from proxy.spelling import nearest
from proxy.units import Unfit

if TYPE_CHECKING:
    from proxy.cli.judging import Judgement
    from proxy.cli.replay import ReplayTarget


class Unreachable(click.ClickException):
    """An address of a model server that cannot be connected to."""

    exit_code = 2


def plan_of(config: Config, path: Path, name: str) -> Plan:
    """The plan to judge a recorded file by: of the rollout named, else of the one it was recorded for."""
    wanted = name or recorded_rollout(path)
    found = config.plans.get(wanted)
    if found is None and not name and len(config.plans) == 1:
        return next(iter(config.plans.values()))
    if found is None:
        hint = nearest(wanted, config.plans) or f"known: {', '.join(config.plans) or 'none'}"
        raise UnderstudyError(f"the configuration has no rollout `{wanted}` ({hint}); choose one with --rollout")
    return found


def judge_file(
    path: Path | StoreUrl, config: Config | None, name: str, *, as_json: bool, kept: Path | None = None
) -> int:
    """Judge a recorded file under a configuration, or a store's journal by its own evidence; the exit code. Verdicts of
    judges are kept in the file `kept`, by default beside the recording."""
    if isinstance(path, StoreUrl) or is_store(path):
        return _judge_journal(path, name, as_json=as_json)
    if config is None:
        raise click.UsageError("Missing option '--config' / '-c': a recorded file is judged by its guards.")
    plan = plan_of(config, path, name)
    said: list[dict[str, Any]] = []
    with progressbar(recorded_pairs(path), label="judge", file=sys.stderr, show_pos=True) as pairs:
        if any(spec.judge for spec in plan.aspects):
            judged, said = _with_judges(config, plan, pairs, kept or path.with_name(f"{path.name}.verdicts.jsonl"))
        else:
            judged = judge_trials(plan, pairs)
    judged = judged or {plan.trial: judge(plan, ())}
    results = {trial: gate(plan, judgement) for trial, judgement in judged.items()}
    if as_json:
        *earlier, last = ({"trial": trial, **report(plan.name, result)} for trial, result in results.items())
        click.echo(json.dumps({**last, "earlier": earlier, "judges": said}, indent=2, allow_nan=False))
    lines = summary_words(said, config.currency)
    for trial, result in () if as_json else results.items():
        version = f" version {trial.split('|')[2]}" if len(results) > 1 else ""  # as `Plan.trial` writes it
        _show(f"{plan.name}{printable(version)}", result, lines)
        lines = []
    return 1 if Verdict.FAIL in {result.verdict for result in results.values()} else 0


def _with_judges(
    config: Config, plan: Plan, pairs: Iterable[Recorded], kept: Path
) -> tuple[dict[str, Judgement], list[dict[str, Any]]]:
    from proxy.cli.asking import judge_trials_with  # a plan without judges needs no HTTP client

    return asyncio.run(judge_trials_with(config, plan, pairs, kept))


def _judge_journal(path: Path | StoreUrl, name: str, *, as_json: bool) -> int:
    with progressbar(journal_entries(path, name), label="judge", file=sys.stderr, show_pos=True) as entries:
        of_rollouts = (one for one in entries if not one[0]["kind"].startswith("drift_"))  # drift decides nothing
        audits = [audit(entry, evidence) for entry, evidence in of_rollouts]
    if not audits:
        where = path.shown if isinstance(path, StoreUrl) else path
        raise UnderstudyError(f"{where}: the journal has no entry" + (f" of `{name}`" if name else ""))
    if as_json:
        keys = ("number", "rollout", "kind", "reason", "then", "now")
        shown = [{**{key: getattr(one, key) for key in keys}, "differences": list(one.differences)} for one in audits]
        click.echo(json.dumps({"entries": shown, "holds": all(one.holds for one in audits)}, indent=2))
    else:
        for one in audits:
            said = "holds" if one.holds else "DIFFERS: " + "; ".join(one.differences)
            click.echo(f"{one.number:>5}  {rfc3339(one.time)}  {one.rollout}  {one.kind:<14} {one.now:<9} {said}")
    return 0 if all(one.holds for one in audits) else 1


def replay_file(
    path: Path,
    config: Config,
    name: str,
    *,
    candidate: str,
    live: str | None,
    headers: Iterable[str],
    live_headers: Iterable[str],
    rate: float,
    as_json: bool,
    xml: Path | None,
    allow_inconclusive: bool,
    limit: int | None,
    until_verdict: bool,
    kept: Path | None = None,
) -> int:
    """Send a recorded file's requests and judge the answers; the exit code."""
    from proxy.cli.replay import Terms, replay_with  # the other commands need no HTTP client

    plan = plan_of(config, path, name)
    if config.upstreams[plan.live].grpc:
        raise UnderstudyError(f"{plan.name} is gRPC, and replay speaks HTTP only")
    for option, given in (("--candidate", candidate), ("--live", live)):
        _check_url(option, given)
    asked = _candidate(config, plan, candidate, headers_of("--header", headers, os.environ))
    live_asked = _live(config, plan, live, headers_of("--live-header", live_headers, os.environ))
    _reach(("--candidate", asked), ("--live", live_asked))
    _write(xml, "")  # better refused now than after all requests have been sent
    bodyless = [recorded.bodyless for recorded in recorded_pairs(path)]
    count, not_sent = bodyless.count(False), bodyless.count(True)
    enough = functools.partial(_is_enough, plan, live is not None) if until_verdict else None
    patience, member = config.upstreams[plan.candidate].timeout, last_member(spec.pointer for spec in plan.aspects)
    terms = Terms(asked, live_asked, rate, patience, limit=limit, enough=enough, member=member)
    verdicts = kept or path.with_name(f"{path.name}.verdicts.jsonl")
    with progressbar(length=min(count, limit or count), label="replay", file=sys.stderr) as bar:
        judgement, said = asyncio.run(replay_with(config, plan, recorded_pairs(path), terms, bar.update, verdicts))
    result = gate(plan, judgement, live_timed=live is not None, not_sent=not_sent)
    if as_json:
        click.echo(json.dumps(report(plan.name, result) | {"judges": said}, indent=2, allow_nan=False))
    else:
        _show(plan.name, result, summary_words(said, config.currency))
    _write(xml, junit(plan.name, result))
    fine = result.verdict is Verdict.PASS or (allow_inconclusive and result.verdict is Verdict.INCONCLUSIVE)
    return 0 if fine else 1


def _is_enough(plan: Plan, live_timed: bool, judgement: Judgement) -> bool:
    """Whether a judgement says pass or fail."""
    return gate(plan, judgement, live_timed=live_timed).verdict is not Verdict.INCONCLUSIVE


def _reach(*servers: tuple[str, ReplayTarget | None]) -> None:
    """Try every server once; raises `Unreachable` for one that is not there."""
    from proxy.cli.replay import unreachable

    for option, server in servers:
        problem = asyncio.run(unreachable(server)) if server is not None else ""
        if server is not None and problem:
            raise Unreachable(f"{option}: cannot reach {server.url}: {problem}")


def _check_url(option: str, given: str | None) -> None:
    try:
        url(given or "http://none")
    except Unfit as unfit:
        raise click.UsageError(f"{option}: found {given!r}, expected {unfit.expected}") from None


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UnderstudyError(f"cannot write {path}: {error.strerror or error}") from error


def headers_of(option: str, given: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Headers as an option gives them, `Name: value`, with `${NAME}` from the environment; no message quotes a value.

    >>> headers_of("--header", ["Authorization: Bearer ${TOKEN}"], {"TOKEN": "x"})
    {'authorization': 'Bearer x'}
    """
    from proxy.cli.replay import NOT_SENT

    found = {}
    for text in given:
        name, colon, value = text.partition(":")
        try:
            name = header(name.strip() if colon else "")
            if name in NOT_SENT:
                raise click.UsageError(f"{option}: {name} belongs to the connection and cannot be set")
            problems: list[str] = []
            found[name] = header_value(filled(value.strip(), environ, problems.append))
            if problems:
                raise click.UsageError(f"{option}: {name}: {problems[0]}")
        except Unfit as unfit:
            raise click.UsageError(f"{option}: expected 'Name: value', {unfit.expected}") from None
    return found


def _candidate(config: Config, plan: Plan, target: str, headers: Mapping[str, str]) -> ReplayTarget:
    """The candidate, asked as its copies are (`mirror.headers`, its upstream); `headers` come on top."""
    named = {f"{route.name}/{rollout.candidate}": rollout for route, rollout in config.rollouts()}
    mirror = named[plan.name].mirror
    server = _server(config, plan.candidate, target, mirror.headers.dropped)
    return replace(server, headers={**mirror.headers.set, **server.headers, **headers})


def _live(config: Config, plan: Plan, target: str | None, headers: Mapping[str, str]) -> ReplayTarget | None:
    """Live, when it is to be asked anew, with headers of its own: its credentials are not the candidate's."""
    if target is None:
        if headers:
            raise click.UsageError("--live-header needs --live: without it no request is sent to live")
        return None
    server = _server(config, plan.live, target)
    return replace(server, headers={**server.headers, **headers})


def _server(config: Config, name: str, target: str, dropped: frozenset[str] = frozenset()) -> ReplayTarget:
    """A model server at another URL, asked as the upstream of this name is; headers in `dropped` are left out, too."""
    from proxy.cli.replay import ReplayTarget
    from proxy.config.for_workers import model_tls
    from proxy.http.placement import Placement
    from proxy.worker.tls import for_models

    upstream = config.upstreams[name]
    try:
        context = for_models(model_tls(upstream.tls)) if target.startswith("https:") else None
    except (OSError, ssl.SSLError) as error:
        raise UnderstudyError(f"upstreams.{name}.tls: {error}") from error
    host = "" if upstream.host in ("client", "url") else upstream.host
    placement = Placement(b"", b"", upstream.path, upstream.headers.dropped | dropped, {})
    return ReplayTarget(
        target, context, headers=upstream.headers.set, set_json=rules(upstream.set_json), host=host, placement=placement
    )


def _show(name: str, result: Gate, said: Iterable[str] = ()) -> None:
    for line in said:
        click.echo(f"  {printable(line)}")
    for finding in result.judgement.assessment.findings:
        if finding.key not in result.left_out:
            click.echo(f"  {finding.verdict.value:<9} {printable(finding.reason)}")
    for key, why in result.left_out.items():
        click.echo(f"  {'–':<9} {key} not judged here: {why}")
    cost = result.judgement.cost
    if cost is not None and cost["pairs"]:
        click.echo(f"  {cost_words(dict(cost))}")
    fired = result.judgement.failed_at or result.judgement.tripped_at
    if fired:
        click.echo(f"  it would have been rolled back by pair {fired} of {result.judgement.pairs}")
    if result.why_unparseable:
        click.echo(f"  ! {printable(result.why_unparseable)}")
    click.echo(f"{name}: {printable(result.sentence)}")
