"""`understudy check`: a configuration in words, or its mistakes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from proxy.cli.arguments import tokens_in_out
from proxy.cli.options import BAD_USAGE, UnreadableFile, guarded
from proxy.config import load, look_through, schema
from proxy.config.trial_costs import AssumedAnswer
from proxy.config.words import RATES, describe, warnings
from proxy.errors import ConfigError


@click.command()
@click.option("--config", "-c", "path", envvar="UNDERSTUDY_CONFIG", metavar="FILE", type=click.Path(path_type=Path),
              help="The configuration file; also UNDERSTUDY_CONFIG.")  # fmt: skip
@click.option("--rate", "rates", multiple=True, type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Requests per second to assume; may be repeated.")  # fmt: skip
@click.option("--tokens", metavar="IN/OUT", callback=tokens_in_out, default="1000/300", show_default=True,
              help="Tokens of a request and of its answer to assume, for what copies cost.")  # fmt: skip
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True), metavar="S",
              help="Seconds of an answer to assume, where a `price` is by the hour.")  # fmt: skip
@click.option("--schema", "wants_schema", is_flag=True, help="Print the JSON Schema of the file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print mistakes, warnings and plans as JSON.")
@click.option("--no-env", is_flag=True, help="Look without the environment and the files of the machine where it runs.")
@click.option("--connect", is_flag=True, help="Connect to the PostgreSQL of `store.url` too, and say what it promises.")
@guarded
def check(
    path: Path | None,
    rates: tuple[float, ...],
    tokens: tuple[int, int],
    seconds: float,
    wants_schema: bool,
    as_json: bool,
    no_env: bool,
    connect: bool,
) -> int:
    """Say in words what a configuration will do.

    Exit code 2 when it has mistakes; each is named with its line, its path and the nearest right spelling. For pull
    requests: --no-env needs no secrets and no certificates, and finds everything else.

    \b
    Examples:
      understudy check --config understudy.yaml
      understudy check --config understudy.yaml --rate 250 --tokens 800/150
      understudy check --config understudy.yaml --no-env
      understudy check --schema > understudy.schema.json
    """
    if wants_schema:
        click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
        return 0
    if path is None:
        raise click.UsageError("Missing option '--config' / '-c'.")
    if no_env and connect:
        raise click.UsageError("--connect needs what --no-env leaves out.")
    try:
        config, unknown = look_through(path) if no_env else (load(path), ())
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(path, error) from error
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "mistakes": [asdict(mistake) for mistake in error.mistakes]}, indent=2))
            return BAD_USAGE
        raise
    if as_json:
        plans = {name: asdict(plan) for name, plan in config.plans.items()}
        told = {"ok": True, "warnings": list(warnings(config)), "plans": plans, "unknown": unknown}
        click.echo(json.dumps(told, indent=2))
    else:
        if unknown:
            click.echo(f"Without the environment, placeholders stand for: {', '.join(unknown)}.\n")
        click.echo(describe(config, rates or RATES, AssumedAnswer(*tokens, seconds)), nl=False)
    if connect and config.store.url is not None:
        from proxy.cli.stores import look_at_store  # the driver takes its time

        click.echo(asyncio.run(look_at_store(config.store.url)), err=as_json)
    return 0
