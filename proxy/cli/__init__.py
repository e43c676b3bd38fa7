"""The command line, thin: each command reads its options, calls one function and turns what comes back into a code.

Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, an address that is taken included. What a person reads goes
to standard output, what went wrong to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from proxy import __version__
from proxy.built import DATA_PATH
from proxy.cli.arguments import tokens_in_out
from proxy.cli.drift import drift
from proxy.cli.options import BAD_USAGE, UnreadableFile, config_option, guarded
from proxy.cli.recorded import judge, replay, suggest
from proxy.cli.rollouts import BY_HAND, status
from proxy.config import load, look_through, schema
from proxy.config.names import nearest
from proxy.config.trial_costs import AssumedAnswer
from proxy.config.words import RATES, describe, warnings
from proxy.errors import ConfigError, UnderstudyError


class _Group(click.Group):
    """Commands in the order in which they are needed, and a hint for a misspelt one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and not ctx.resilient_parsing:
            hint = nearest(cmd_name, self.commands)
            ctx.fail(f"No such command '{cmd_name}'" + (f" ({hint})." if hint else "."))
        return found


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="understudy", message=f"%(prog)s %(version)s, data path {DATA_PATH}")
def main() -> None:
    """A shadow-scoring and canary proxy for machine-learning inference.

    \b
    Start here:
      understudy demo                                    watch one model promoted, two rolled back
      understudy check --config config/quickstart.yaml   what a configuration will do, in words
      understudy serve --config config/quickstart.yaml   run it
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        click.get_current_context().color = False


@main.command()
@config_option
@guarded
def serve(path: Path) -> int:
    """Run the proxy.

    SIGTERM and SIGINT drain and end it; SIGHUP reads the file again. Exit code 2: the file has mistakes, or somebody
    else listens on one of its addresses.

    \b
    Example:
      understudy serve --config understudy.yaml
    """
    from proxy import supervisor  # the other commands need no event loop

    try:
        path.read_bytes()
    except OSError as error:
        raise UnreadableFile(path, error) from error
    return supervisor.run(path)


@main.command()
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


@main.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end and print the URLs.")
@click.option("--loop", is_flag=True, help="Play the loop instead: drift, retraining, registration, promotion.")
@click.option("--json", "as_json", is_flag=True, help="Print the result of each act as JSON; progress goes to stderr.")
@guarded
def demo(keep: bool, loop: bool, as_json: bool) -> int:
    """Watch a good candidate promoted and two bad ones rolled back.

    Real models on real data, on this machine, in under two minutes. With --loop inputs drift, an alarm has a model
    retrained on recent data and registered, and it is tried and promoted; nobody touches the configuration.

    \b
    Examples:
      understudy demo --keep
      understudy demo --loop
      understudy demo --json | jq '.acts[] | {rollout, state, pairs, client_errors}'
    """
    from proxy import demo as play  # scikit-learn is an extra

    return play.main(keep=keep, as_json=as_json, loop=loop)


for _command in (status, *BY_HAND, drift, judge, replay, suggest):
    main.add_command(_command)


@main.group()
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
    from proxy.cli.stores import copy_store

    click.echo(asyncio.run(copy_store(source, target)))
    return 0


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@guarded
def completion(shell: str) -> int:
    """Print a completion script for your shell.

    \b
    Examples:
      eval "$(understudy completion bash)"
      understudy completion fish > ~/.config/fish/completions/understudy.fish
    """
    kind = get_completion_class(shell)
    if kind is None:  # every choice above is one that click knows
        raise UnderstudyError(f"no completion for {shell}")
    click.echo(kind(main, {}, "understudy", "_UNDERSTUDY_COMPLETE").source())
    return 0
