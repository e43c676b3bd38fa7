"""Commands about rollouts that run: `status`, and one for each thing that can be done to one by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from proxy.cli.admin import AdminClient, NotFoundError
from proxy.cli.drift import drift_alarms
from proxy.cli.lines import lines, refused_words
from proxy.cli.options import guarded
from proxy.cli.reaching import admin_options, rollout_named, rollout_names, unknown_rollout
from proxy.cli.table import addresses, follow, overview, replicas


@click.command()
@click.argument("rollout", required=False, shell_complete=rollout_names)
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API answers.")
@click.option("--watch", is_flag=True, help="Refresh every --interval seconds until Ctrl-C.")
@click.option("--interval", default=2.0, show_default=True, type=click.FloatRange(min=0.1), metavar="SECONDS",
              help="Time between two refreshes.")  # fmt: skip
@admin_options
@guarded
def status(rollout: str | None, as_json: bool, watch: bool, interval: float, url: str, token: str | None) -> int:
    """Show rollouts, the worst first: several in a line each; one whole, with findings, ledger and cost.

    \b
    Examples:
      understudy status
      understudy status credit/credit-v2 --watch
      understudy status --json | jq '.rollouts[].verdict'
    """
    admin = AdminClient(url, token)

    def text() -> str:
        found = [rollout_named(admin, rollout)] if rollout else admin.rollouts()
        if as_json:  # followed by a program, one line each time
            return json.dumps(found[0] if rollout else {"rollouts": found}, indent=None if watch else 2)
        named = {one[arm] for one in found for arm in ("live", "candidate")}
        upstreams = {name: rows for name, rows in (admin.upstreams() if found else {}).items() if name in named}
        shown = overview(found) if len(found) == 1 else lines(found)
        parts = (shown, drift_alarms(admin), addresses(upstreams), _replicas(admin), _refused(admin))
        return "\n\n".join(filter(None, parts))

    if not watch:
        click.echo(text())
        return 0
    try:
        follow(text, interval, as_json=as_json)
    except KeyboardInterrupt:
        return 0


def _replicas(admin: AdminClient) -> str:
    with suppress(NotFoundError):  # a version that knows of no fleet
        return replicas(admin.fleet())
    return ""


def _refused(admin: AdminClient) -> str:
    with suppress(NotFoundError):
        return refused_words(admin.config())
    return ""


def _hand_action(action: str, about: str, example: str) -> click.Command:
    """A command that does one thing to one rollout by hand."""

    def command(rollout: str, reason: str, as_json: bool, url: str, token: str | None, full: bool = False) -> int:
        admin = AdminClient(url, token)
        try:
            after = admin.act(rollout, action, reason=reason, full=full)
        except NotFoundError:
            raise unknown_rollout(admin, rollout) from None
        click.echo(json.dumps(after, indent=2) if as_json else overview([after]))
        if (asked := after.get("asked")) and not as_json:
            click.echo(f"\n{asked['by']} asks for 100 %; another person has to confirm it until {asked['until']}:")
            click.echo(f"  understudy promote {after['name']} --full --reason …")
        return 0

    command.__doc__ = f"{about}\n\n\b\nExample:\n  understudy {action} credit/credit-v2 --reason {example!r}"
    options: list[Callable[[Any], Any]] = [
        click.argument("rollout", shell_complete=rollout_names),
        click.option("--reason", required=True, help="Why, for the journal and the webhook."),
        click.option("--json", "as_json", is_flag=True, help="Print the rollout afterwards as JSON."),
        admin_options,
    ]
    if action == "promote":
        options.append(click.option("--full", is_flag=True, help="Straight to 100%, past the other stages."))
    whole = guarded(command)
    for option in reversed(options):
        whole = option(whole)
    return click.command(action)(whole)


promote = _hand_action("promote", "Send a rollout to its next stage, or approve a pass.", "looks good in the console")
abort = _hand_action("abort", "Roll a rollout back.", "support tickets")
pause = _hand_action("pause", "Stop a rollout from advancing; it can still be rolled back.", "release freeze")
resume = _hand_action("resume", "Let a paused rollout advance again.", "the freeze is over")
retry = _hand_action("retry", "Try a rolled back version again; its evidence is kept.", "the database was down")
restart = _hand_action(
    "restart", "Begin a new trial of a rolled back version, without its old evidence.", "the limit was too strict"
)
