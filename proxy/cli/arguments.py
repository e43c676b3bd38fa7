"""What stands on the command line for a configuration, a recording or a store, as what it means."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.options import UnreadableFile
from proxy.config import Config, load
from proxy.config.postgres_url import StoreUrl, is_store_url


def recording_or_store(ctx: click.Context, param: click.Parameter, value: str) -> Path | StoreUrl:
    """A recorded file, or a store: its file, or its URL of PostgreSQL. Nothing is opened."""
    return StoreUrl(value) if is_store_url(value) else Path(value)


def recording(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    """A recorded file; raises `click.BadParameter` for the URL of a store, of which it shows nothing."""
    if is_store_url(value):
        raise click.BadParameter("a store holds no requests that could be sent; name a recorded file")
    return Path(value)


def tokens_in_out(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Tokens that go in and come out, `800/150`; raises `click.BadParameter`."""
    into, slash, out = value.partition("/")
    if not (slash and into.strip().isdecimal() and out.strip().isdecimal()):
        raise click.BadParameter("tokens in and out, such as 800/150")
    return int(into), int(out)


def read_config(path: Path) -> Config:
    """The configuration in a file; raises `UnreadableFile` and `ConfigError`."""
    try:
        return load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(path, error) from error
