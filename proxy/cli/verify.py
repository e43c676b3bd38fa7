"""`judge --verify`: whether a store's journal is what was written into it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from proxy.cli.table import printable
from proxy.config.postgres_url import StoreUrl
from proxy.controller.recordings import is_store, verified
from proxy.controller.store.chain import ChainHead
from proxy.errors import UnderstudyError


def verify_store(place: Path | StoreUrl, noted: str | None, *, as_json: bool) -> int:
    """Check the journal's chain, and compare it with a head that was noted; the exit code."""
    if isinstance(place, Path) and not is_store(place):
        raise UnderstudyError(f"{place}: --verify is for a store's journal, and this is a recorded file")
    try:
        known = None if noted is None else ChainHead.read(noted)
    except ValueError as error:
        raise click.UsageError(f"--head: {error}") from None
    check, chain = verified(place, known)
    if as_json:
        head = {"number": chain.head.number, "hash": chain.head.hash}
        counts = {"checked": check.checked, "unchained": check.unchained, "taken_away": check.taken_away}
        click.echo(json.dumps({"holds": not check.faults, "faults": check.faults, "head": head, **counts}, indent=2))
        return 1 if check.faults else 0
    for fault in check.faults:
        click.echo(f"  ! {printable(fault)}")
    older = f", {check.unchained} older than the chain" if check.unchained else ""
    click.echo(f"{check.checked} entries checked, {check.taken_away} taken away by retention{older}; head {chain.head}")
    click.echo("the chain is broken" if check.faults else "the chain holds")
    return 1 if check.faults else 0
