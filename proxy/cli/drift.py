"""`understudy drift`: what moved in what live is asked and answers, and taking it for normal."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import click

from proxy.cli.admin import AdminClient, NotFoundError
from proxy.cli.options import guarded
from proxy.cli.reaching import admin_options
from proxy.cli.table import printable
from proxy.errors import UnderstudyError
from proxy.spelling import nearest

_COLUMNS = ("field", "state", "since", "evidence", "values", "what moved")


@click.group("drift", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API answers.")
@admin_options
@click.pass_context
def drift(ctx: click.Context, as_json: bool, url: str, token: str | None) -> None:
    """Show what drifts in live's requests and answers: every field that is watched.

    \b
    Examples:
      understudy drift
      understudy drift --json | jq '.routes[].fields[] | select(.state == "drifting")'
    """
    if ctx.invoked_subcommand is None:
        _show(as_json, url, token)


@guarded
def _show(as_json: bool, url: str, token: str | None) -> int:
    found = AdminClient(url, token).drift()
    click.echo(json.dumps({"routes": found}, indent=2) if as_json else drift_overview(found))
    return 0


@drift.command()
@click.argument("route")
@click.argument("field", required=False)
@click.option("--reason", required=True, help="Why, for the journal and the webhook.")
@click.option("--json", "as_json", is_flag=True, help="Print the route afterwards as JSON.")
@admin_options
@guarded
def accept(route: str, field: str | None, reason: str, as_json: bool, url: str, token: str | None) -> int:
    """Accept the present values of FIELD of ROUTE as the new reference; without FIELD, of all its fields.

    \b
    Example:
      understudy drift accept fraud amount --reason "new tariff"
    """
    admin = AdminClient(url, token)
    try:
        after = admin.accept_drift(route, field, reason=reason)
    except NotFoundError as error:
        names = [one["route"] for one in admin.drift()]
        if route in names:
            raise UnderstudyError(str(error)) from None
        hint = nearest(route, names) or (f"known: {', '.join(names)}" if names else "no route has `drift:`")
        raise UnderstudyError(f"no drift of a route `{route}` ({hint})") from None
    click.echo(json.dumps(after, indent=2) if as_json else drift_overview([after]))
    return 0


def drift_overview(routes: list[dict[str, Any]]) -> str:
    """Every route: a line, and a table of its fields. `routes` as the admin API gives them."""
    if not routes:
        return "No route has `drift:` in the configuration."
    return "\n\n".join(_route(one) for one in routes)


def _route(one: dict[str, Any]) -> str:
    head = f"{printable(one['route'])}  {one['state']}, live {printable(one['live'])} {printable(one['version'])}"
    lines = [f"{head}, {one['observations']:,} requests looked at since {one['began_at']}"]
    lines += [f"  problem: {printable(problem)}" for problem in one["problems"]]
    unreadable = ", ".join(
        f"{part['what'] or 'prediction'} {part['reason']} {part['count']:,}" for part in one["unreadable"]
    )
    lines += [f"  unreadable: {printable(unreadable)}"] if unreadable else []
    rows = [_field(field) for field in one["fields"]]
    return "\n".join([*lines, *(f"  {line}" for line in _aligned([_COLUMNS, *rows]))] if rows else lines)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _field(one: dict[str, Any]) -> tuple[str, ...]:
    evidence = "" if one["state"] == "learning" else f"{one['evidence']:.0%}"
    since = one["since"] or ""
    return printable(one["field"]), one["state"], since, evidence, f"{one['observations']:,}", printable(one["words"])


def drift_alarms(admin: AdminClient) -> str:
    """A line for each field that drifts, for `status`; empty where none does."""
    with suppress(NotFoundError):  # a version that knows of no drift
        return "\n".join(
            f"drift: {printable(route['route'])}: {printable(field['field'])} since {field['since']}: "
            f"{printable(field['words'])}"
            for route in admin.drift()
            for field in route["fields"]
            if field["state"] == "drifting"
        )
    return ""
