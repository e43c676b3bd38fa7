"""`understudy store`: what is done with a store that no replica uses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from proxy.cli.options import guarded
from proxy.config.postgres_url import StoreUrl, is_store_url
from proxy.controller.store.copying import copy_parts, summed
from proxy.controller.store.postgres.copying import PostgresCopied
from proxy.controller.store.postgres.session import Session
from proxy.controller.store.sqlite.copying import SqliteCopied
from proxy.errors import StoreError

Held = SqliteCopied | PostgresCopied


async def copy_store(source: str, target: str) -> str:
    """Move a whole state, and say in words what was moved. Raises `StoreError`."""
    one = await (PostgresCopied.source(StoreUrl(source)) if is_store_url(source) else SqliteCopied.source(Path(source)))
    try:
        other = await (
            PostgresCopied.target(StoreUrl(target)) if is_store_url(target) else SqliteCopied.target(Path(target))
        )
        try:
            return await _copied(one, other)
        finally:
            await other.close()
    finally:
        await one.close()


async def _copied(source: Held, target: Held) -> str:
    await copy_parts(source, target)
    wanted, found = await summed(source), await summed(target)
    differs = [part for part in wanted if wanted[part] != found[part]]
    if differs:
        raise StoreError(f"{target.where}: {', '.join(differs)} came out otherwise; it is no copy, and not to be used")
    await target.finish()
    rows = ", ".join(f"{count} {part}" for part, (count, _) in wanted.items() if part != "facts" and count)
    return f"Copied and compared: {rows}."


async def look_at_store(url: StoreUrl) -> str:
    """What PostgreSQL says of itself, in words. Raises `StoreError`."""
    session = await Session.connect(url)
    await session.close()
    where = session.target.shown
    if session.synchronous:
        return f"{where} answers; a COMMIT waits for a standby: what is saved is on two machines, or it is not saved."
    return f"{where} answers; a COMMIT waits for no standby: a failover may lose the last decisions."


@click.group()
def store() -> None:
    """Do something with a store while no replica uses it.

    \b
    Example:
      understudy store copy state/understudy.db 'postgresql://understudy@db/understudy'
    """


@store.command()
@click.argument("source")
@click.argument("target")
@guarded
def copy(source: str, target: str) -> int:
    """Copy a whole state into another store: a file or a URL of PostgreSQL each.

    Rollouts, evidence, journal, deliveries, past trials, charts and the secret of the split; then all of it is read
    again and compared. The source must not be in use, the target must be empty. ${NAME} and ${file:PATH} in a URL are
    filled in, so that no password need be on the command line.

    \b
    Examples:
      understudy store copy state/understudy.db 'postgresql://understudy:${PGPASSWORD}@db/understudy'
      understudy store copy 'postgresql://understudy@db/understudy' state/understudy.db
    """
    click.echo(asyncio.run(copy_store(source, target)))
    return 0
