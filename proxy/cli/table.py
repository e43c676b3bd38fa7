"""Rollouts as a person reads them in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click

from proxy.errors import UnderstudyError
from proxy.money import money_text
from proxy.rollout.requirements import rough
from proxy.significant import significant

COLOURS = {
    "pass": "green", "promoted": "green", "completed": "green", "fail": "red", "rolled_back": "red", "failing": "red",
    "stalled": "yellow", "held": "yellow", "paused": "yellow", "inconclusive": "yellow",
    "shadow": "cyan", "canary": "cyan",
}  # fmt: skip
NONE = "No rollout. Name a candidate under `routes: … rollouts:` in the configuration, then reload."
MOST_ADDRESSES = 10
"""Addresses of one upstream that are told one by one."""
_COLUMNS = ("guard", "value", "95% interval", "limit", "evidence", "over", "pass in", "verdict")


def overview(rollouts: list[dict[str, Any]]) -> str:
    """Every rollout: one block each. `rollouts` as the admin API gives them."""
    if not rollouts:
        return NONE
    return "\n\n".join(_rollout(rollout) for rollout in rollouts)


def addresses(upstreams: dict[str, list[dict[str, Any]]]) -> str:
    """The upstreams that have several addresses, or one that is not used: a line each, and one for each such address.

    >>> print(addresses({"v1": [{"address": "10.0.0.1:80", "workers": 2, "up": 1, "errors": 7, "ejections": 1}]}))
    v1: 0 of 1 addresses used by all workers
      10.0.0.1:80 left out by 1 of 2 workers, 7 errors, left out 1 times so far
    """
    lines = []
    for name, rows in upstreams.items():
        out = [row for row in rows if row["up"] < row["workers"]]
        if len(rows) > 1 or out:
            lines.append(f"{printable(name)}: {len(rows) - len(out)} of {len(rows)} addresses used by all workers")
        lines += [
            f"  {printable(row['address'])} left out by {row['workers'] - row['up']} of {row['workers']} workers, "
            f"{row['errors']:,} errors, left out {row['ejections']:,} times so far"
            for row in out[:MOST_ADDRESSES]
        ]
    return "\n".join(lines)


def replicas(fleet: dict[str, Any]) -> str:
    """A fleet: who leads, and a line for each replica. Empty for a machine that is none.

    >>> one = {"name": "host-1", "role": "leader", "config_hash": "0f3a", "workers": 2, "connected": True,
    ...        "link_lag_seconds": 0.0}
    >>> other = one | {"name": "host-2", "role": "standby", "config_hash": "9c1d", "link_lag_seconds": 0.012}
    >>> leader = {"name": "host-1", "since": "2026-11-29T20:00:00Z"}
    >>> print(replicas({"leader": leader, "term": 3, "replicas": [one, other]}))
    fleet: host-1 leads since 2026-11-29T20:00:00Z, term 3
      host-1  leads      2 workers
      host-2  stands by  2 workers, pairs take 12ms, its configuration is another one
    >>> replicas({"leader": leader, "term": 0, "replicas": [one]})
    ''
    """
    known, leader = fleet["replicas"], fleet["leader"]
    if not fleet["term"] and len(known) < 2:
        return ""
    head = f"{leader['name']} leads since {leader['since']}, term {fleet['term']}" if leader else "nobody leads now"
    leaders = {one["config_hash"] for one in known if one["role"] == "leader"}
    width = max((len(one["name"]) for one in known), default=0)
    lines = [f"  {one['name']:<{width}}  {_standing(one, leaders)}" for one in known]
    return "\n".join(map(printable, (f"fleet: {head}", *lines)))


def _standing(one: dict[str, Any], leaders: set[str]) -> str:
    words = [f"{one['workers']} worker{'s' * (one['workers'] != 1)}"]
    if not one["connected"]:
        words.append("cut off")
    if one["link_lag_seconds"]:
        words.append(f"pairs take {significant(1000 * one['link_lag_seconds'], 3)}ms")
    if leaders and one["config_hash"] not in leaders:
        words.append("its configuration is another one")
    return f"{'leads' if one['role'] == 'leader' else 'stands by':<9}  {', '.join(words)}"


def follow(text: Callable[[], str], interval: float, *, as_json: bool) -> NoReturn:
    """Show a text every `interval` seconds until an interrupt; on a terminal in place, without clearing it first.

    What `text` raises ends it at the first time, and later on for a program; a person waits for a controller that
    restarts. Raises `UnderstudyError` and `KeyboardInterrupt`.
    """
    redraw = not as_json and sys.stdout.isatty()
    shown = text()
    if redraw:
        click.clear()
    while True:
        if redraw:
            foot = click.style(f"{time.strftime('%X')}, again every {interval:g} s until Ctrl-C", dim=True)
            rows = [f"{row}\x1b[K\n" for row in (*shown.split("\n"), "", foot)]
            click.echo(f"\x1b[H{''.join(rows)}\x1b[J", nl=False)
        else:
            click.echo(shown)
        time.sleep(interval)
        try:
            shown = text()
        except UnderstudyError as error:
            if as_json:
                raise
            shown = str(error)


def _rollout(one: dict[str, Any]) -> str:
    stage = one.get("stage") or {}
    flags = [" paused"] * bool(one.get("paused")) + [f" blocked by {one['blocked_by']}"] * bool(one.get("blocked_by"))
    head = (
        f"{click.style(one['name'], bold=True)}  {_word(one['state'])}{''.join(flags)}  verdict {_word(one['verdict'])}"
    )
    lines = [head, f"  live {one['live']} → candidate {one['candidate']}, version {one['version']}"]
    if stage:
        lines.append(_where(one, stage))
        if stage.get("waiting_for"):
            lines.append(f"  {stage['waiting_for']}")
        if forecast := stage.get("forecast"):
            lines.append(f"  {forecast['text']}")
    if (why := one.get("reason")) and why not in [f.get("reason") for f in one.get("findings", ())]:
        lines.append(f"  ! {printable(why)}")  # a person's, or a rule's that is no guard
    if one.get("findings"):
        lines += ["", *_table([_row(finding) for finding in one["findings"]])]
        lines += [
            f"  ! {printable(f['reason'])}" for f in one["findings"] if f["verdict"] == "fail" and f.get("reason")
        ]
    lines += ["", "  pairs: " + _counts(one["ledger"], first="sampled")]
    lines += _costs(one)
    lines += [f"  {printable(judge_words(judge))}" for judge in one.get("judges") or ()]
    lines += [f"  {printable(likeness_words(alike))}" for alike in one.get("similarities") or ()]
    if budget := one.get("token_budget"):
        lines.append(
            f"  tokens of copies: {budget['last_minute']:,} in the last minute of {budget['limit']:,} allowed, "
            f"enough for {budget['share']:.3g} of the pairs"
        )
    if pace := one.get("pair_budget"):
        most = "as the controller can take" if pace["limit"] == "auto" else f"as {pace['limit']:,} a second"
        lines.append(f"  as many pairs {most}, which is {pace['share']:.3g} of them")
    if known := one.get("outcomes"):
        drop = known["drop"]
        low, high = ("–" if drop[end] is None else significant(drop[end], 3) for end in ("low", "high"))
        live, candidate, value = (
            significant(one, 3) for one in (known["live_loss"], known["candidate_loss"], drop["value"])
        )
        lines.append(
            f"  by {known['joined']:,} outcomes: mean loss of live {live}, of the candidate {candidate}; "
            f"quality drop {value} ({low} … {high}), no limit"
        )
    if labels := one.get("labels"):
        lines.append("  delayed labels: " + _counts(labels, first="counted"))
    if users := one.get("users"):
        lines += [f"  {printable(users_words(users, arm))}" for arm in ("live", "candidate")]
    if one.get("repeats"):
        lines.append(f"  repeats left out: {one['repeats']:,}")
    if one.get("why_unparseable"):
        lines.append(f"  ! {printable(one['why_unparseable'])}")
    if one.get("candidate_failures"):
        lines.append("  candidate's failures: " + _counts(one["candidate_failures"]))
    if mismatches := one.get("response_mismatches"):
        counted = {word.replace("_", " "): n for word, n in mismatches.items()}
        lines.append("  mismatched responses: " + _counts(counted))
    return "\n".join(lines)


def users_words(users: dict[str, Any], arm: str) -> str:
    """What became of the users of an arm.

    >>> arm = {"counted": 1200, "mean": 0.0512, "waiting": 80, "late": 3, "switched": 0}
    >>> users_words({"outcome": "conversion", "live": arm}, "live")
    'conversion of live: 1,200 users, mean 0.0512; 80 wait, 3 outcomes came too late'
    >>> users_words({"outcome": "conversion", "live": arm | {"waiting": 0, "switched": 35}}, "live").partition("; ")[2]
    '0 wait, 35 left out since their stage ended first, 3 outcomes came too late'
    """
    one = users[arm]
    mean = "" if one["mean"] is None else f", mean {significant(one['mean'], 3)}"
    counted, waiting, late = one["counted"], one["waiting"], one["late"]
    ended = f", {one['switched']:,} left out since their stage ended first" if one["switched"] else ""
    came = f"{waiting:,} wait{ended}, {late:,} outcomes came too late"
    return f"{users['outcome']} of {arm}: {counted:,} users{mean}; {came}"


def judge_words(one: dict[str, Any]) -> str:
    """What a judge has said of the pairs of one prediction.

    >>> one = {"judge": "helpful", "aspect": "quality", "verdicts": {"win": 12, "tie": 30, "loss": 9}, "waiting": 4}
    >>> one |= {"not_judged": {"timeout": 2}, "first": {"rate": 0.52}, "earlier": 120}
    >>> one |= {"cost": {"spent": 0.61, "limit": "5/day", "currency": "€"}}
    >>> judge_words(one | {"down": False, "anchors": {"state": "in_doubt", "held": 40}})
    'judge helpful (quality): 12 won, 30 tied, 9 lost; not judged: 2 timeout; since this controller began, 120 drawn \
before; first wins 52 %; spent €0.61 of €5.00/day; anchors: in doubt, 40 verdicts wait for them'
    """
    verdicts, first, anchors = one["verdicts"], one["first"]["rate"], one["anchors"]
    words = [f"{verdicts['win']:,} won, {verdicts['tie']:,} tied, {verdicts['loss']:,} lost"]
    if one["not_judged"]:
        words.append("not judged: " + ", ".join(f"{n:,} {why}" for why, n in one["not_judged"].items()))
    words += _earlier_words(one)
    if first is not None:
        words.append(f"first wins {100 * first:.0f} %")
    if one["cost"]["limit"] is not None:
        words.append(_spent_words(one["cost"]))
    if anchors is not None:
        held = f", {anchors['held']:,} verdicts wait for them" if anchors["held"] else ""
        words.append(f"anchors: {anchors['state'].replace('_', ' ')}{held}")
    if one["down"]:
        words.append("it gives no verdicts now")
    of = f" ({one['aspect']})" if one["aspect"] else ""
    return f"judge {one['judge']}{of}: {'; '.join(words)}"


def _spent_words(cost: dict[str, Any]) -> str:
    most, _, period = cost["limit"].partition("/")
    spent, limit = (money_text(float(value), cost["currency"]) for value in (cost["spent"], most))
    return f"spent {spent} of {limit}/{period}"


def _earlier_words(one: dict[str, Any]) -> list[str]:
    """That the counts do not hold pairs that the findings do."""
    earlier = one.get("earlier")
    return [f"since this controller began, {earlier:,} drawn before"] if earlier else []


def likeness_words(one: dict[str, Any]) -> str:
    """What embeddings say of the pairs of one prediction.

    >>> one = {"judge": "similarity:e/m", "aspect": "meaning", "compared": 1200, "mean": 0.93, "down": True}
    >>> likeness_words(one | {"not_judged": {"timeout": 2}})
    'similarity:e/m (meaning): 1,200 compared, mean 0.93; without embeddings: 2 timeout; none come now'
    """
    mean = f", mean {one['mean']:.2f}" if one["mean"] is not None else ""
    words = [f"{one['compared']:,} compared{mean}"]
    if one["not_judged"]:
        words.append("without embeddings: " + ", ".join(f"{n:,} {why}" for why, n in one["not_judged"].items()))
    words += _earlier_words(one)
    if one["down"]:
        words.append("none come now")
    of = f" ({one['aspect']})" if one["aspect"] else ""
    return f"{one['judge']}{of}: {'; '.join(words)}"


def _costs(one: dict[str, Any]) -> list[str]:
    """What answers and copies cost, and what these may."""
    lines, cost, budget = [], one.get("cost"), one.get("cost_budget")
    if cost and cost["pairs"]:
        copies = money_text(cost["copies"], cost["currency"])
        lines.append(f"  {cost_words(cost)}; copies have cost {copies}")
    if cost and budget:
        spent, most = (money_text(budget[name], cost["currency"]) for name in ("in_period", "amount"))
        period = "day" if budget["period_seconds"] > 3600 else "hour"
        enough = f"enough for {budget['share']:.3g} of the pairs"
        lines.append(f"  copies: {spent} in the last {period} of {most} allowed, {enough}")
    return lines


def cost_words(cost: dict[str, Any]) -> str:
    """What an answer of each arm costs on average.

    >>> arms = {"live": {"mean": 0.012}, "candidate": {"mean": 0.006}}
    >>> cost_words({**arms, "currency": "$", "ratio": 0.5, "pairs": 1200, "counted": 0})
    "an answer costs $0.012 of live, $0.006 of the candidate (0.50 x live's, mean of 1,200 pairs)"
    """
    live, candidate = (money_text(cost[arm]["mean"], cost["currency"]) for arm in ("live", "candidate"))
    ratio = f"{cost['ratio']:.2f} x live's, " if cost["ratio"] is not None else ""
    counted = f", tokens estimated in {cost['counted']:,}" if cost["counted"] else ""
    mean = f"({ratio}mean of {cost['pairs']:,} pairs{counted})"
    return f"an answer costs {live} of live, {candidate} of the candidate {mean}"


def _where(one: dict[str, Any], stage: dict[str, Any]) -> str:
    since = one.get("since") or stage.get("entered_at")
    rung = f" ({stage['index'] + 1} of {len(one['stages'])})" if stage["index"] < len(one.get("stages", ())) else ""
    if one["state"] in ("rolled_back", "completed"):
        return f"  ended in stage {stage['name']}{rung}" + (f" at {since}" if since else "")
    return f"  stage {stage['name']}{rung}, weight {one['weight']:g}%" + (f" since {since}" if since else "")


def _counts(counts: dict[str, int], first: str = "") -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n or name == first) or "none"


def _word(word: str) -> str:
    return click.style(word.replace("_", " "), fg=COLOURS.get(word))


def _row(finding: dict[str, Any]) -> tuple[str, ...]:
    guard, unit, eta = finding.get("key", finding["guard"]), finding.get("unit", "number"), finding.get("eta_seconds")
    name = guard if finding.get("segment") is None else f"{guard} [{finding['segment'] or '(none)'}]"
    interval = "–"
    if finding.get("low") is not None and finding.get("high") is not None:
        interval = f"{_amount(unit, finding['low'])} … {_amount(unit, finding['high'])}"
    return (
        printable(name)[:60],
        _amount(unit, finding.get("value")),
        interval,
        _amount(unit, finding["limit"]),
        f"{finding['evidence'] * 100:.0f}%",
        f"{finding['pairs']:,} {finding.get('of', 'pairs')}",
        "–" if eta is None or finding["verdict"] != "inconclusive" else rough(eta),
        finding["verdict"],
    )


def _amount(unit: str, value: float | None) -> str:
    """A value in the guard's own unit, three digits.

    >>> _amount("times", 1.2), _amount("seconds", 0.25), _amount("percent", 0.02), _amount("number", 0.0123)
    ('1.2x', '250ms', '2%', '0.0123')
    >>> _amount("points", 0.0042), _amount("points", -0.25)
    ('0.42pp', '-25pp')
    """
    if value is None:
        return "–"
    if unit == "seconds":
        return f"{significant(value, 3)}s" if value >= 1 else f"{significant(value * 1000, 3)}ms"
    if unit in ("percent", "points"):
        return significant(value * 100, 3) + ("%" if unit == "percent" else "pp")
    return significant(value, 3) + "x" * (unit == "times")


def printable(text: str) -> str:
    """Segments are named by clients: no control characters into a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in (_COLUMNS, *rows)) for n in range(len(_COLUMNS))]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        return "  " + "   ".join([*cells, _word(row[-1])])

    return [click.style(line(_COLUMNS), dim=True), *(line(row) for row in rows)]
