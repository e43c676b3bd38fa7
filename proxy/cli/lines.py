"""Many rollouts in a terminal, a line each, and what was refused of the configuration."""

from __future__ import annotations

from typing import Any

import click

from proxy.cli.table import COLOURS, NONE, printable

_ORDER = ("rolled_back", "failing", "stalled", "held", "paused", "canary", "shadow", "promoted", "completed")
"""What a line may say of a rollout, the worst first."""


def standing(one: dict[str, Any]) -> str:
    """Where a rollout stands in one word.

    >>> standing({"state": "canary", "findings": [{"verdict": "fail"}]})
    'failing'
    >>> standing({"state": "shadow", "findings": [], "stalled": True})
    'stalled'
    """
    state: str = one["state"]
    if state in ("rolled_back", "completed"):
        return state
    if any(finding["verdict"] == "fail" for finding in one.get("findings") or ()):
        return "failing"
    if state == "promoted":
        return state
    return next((word for word in ("stalled", "held", "paused") if one.get(word)), state)


def lines(rollouts: list[dict[str, Any]]) -> str:
    """Every rollout in a line, the worst first: where it stands, stage, weight, verdict, why or what it waits for."""
    if not rollouts:
        return NONE
    ordered = sorted(rollouts, key=lambda one: (_ORDER.index(standing(one)), -_trouble(one), one["name"]))
    rows = [_line(one) for one in ordered]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_drawn(row, widths) for row in rows)


def _trouble(one: dict[str, Any]) -> float:
    return max((finding["evidence"] for finding in one.get("findings") or ()), default=0.0)


def _line(one: dict[str, Any]) -> tuple[str, ...]:
    stage = one.get("stage") or {}
    over = one["state"] in ("rolled_back", "completed")
    why = one.get("reason") if over else stage.get("waiting_for")
    where = f"{stage.get('name', '')} {one['weight']:g}%"
    cells = (one["name"], one.get("owner") or "", standing(one), where, one["verdict"], (why or "")[:100])
    return tuple(printable(cell) for cell in cells)


def _drawn(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    for at in (2, 4):
        cells[at] = click.style(cells[at].replace("_", " "), fg=COLOURS.get(row[at]))
    return "  ".join(cell for cell, width in zip(cells, widths, strict=True) if width).rstrip()


def refused_words(config: dict[str, Any]) -> str:
    """That a configuration was refused; empty where none was.

    >>> one = {"refused": {"error": "u.yaml: 1 mistake\\n  line 3: …", "at": "2026-11-30T09:00:00Z", "by": "watch"}}
    >>> print(refused_words(one))
    ! the configuration was refused at 2026-11-30T09:00:00Z (watch); an earlier one is in force
      u.yaml: 1 mistake
        line 3: …
    >>> refused_words({"refused": None})
    ''
    """
    refused = config["refused"]
    if refused is None:
        return ""
    head = f"! the configuration was refused at {refused['at']} ({refused['by']}); an earlier one is in force"
    return "\n".join([head, *(f"  {printable(line)}" for line in refused["error"].splitlines())])
