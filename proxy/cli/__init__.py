"""The command line, thin: each command reads its options, calls one function and turns what comes back into a code.

Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, an address that is taken included. What a person reads goes
to standard output, what went wrong to standard error.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from proxy import __version__
from proxy.built import DATA_PATH
from proxy.cli.admin import DEFAULT_URL, AdminClient, NotFoundError
from proxy.cli.arguments import recording, recording_or_store, tokens_in_out
from proxy.cli.table import addresses, follow, overview, replicas
from proxy.config import Config, load, schema
from proxy.config.names import nearest
from proxy.config.postgres_url import StoreUrl
from proxy.config.trial_costs import AssumedAnswer
from proxy.config.words import RATES, describe, warnings
from proxy.errors import AddressError, ConfigError, UnderstudyError

FAILED, BAD_USAGE = 1, 2


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


class _Unreadable(click.ClickException):
    """A configuration file that cannot be read."""

    exit_code = BAD_USAGE

    def __init__(self, path: Path, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        super().__init__(f"cannot read {path}: {reason}")


def _guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that are raised on purpose into a message and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            sys.exit(command(*args, **kwargs))
        except ConfigError as error:
            click.echo(str(error), err=True)
            sys.exit(BAD_USAGE)
        except UnderstudyError as error:
            click.echo(f"understudy: {error}", err=True)
            sys.exit(BAD_USAGE if isinstance(error, AddressError) else FAILED)
        except BrokenPipeError:
            sys.exit(FAILED)

    return run


config_option = click.option(
    "--config",
    "-c",
    "path",
    required=True,
    envvar="UNDERSTUDY_CONFIG",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration file; also UNDERSTUDY_CONFIG.",
)


def _admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--token", envvar="UNDERSTUDY_ADMIN_TOKEN", help="Admin token; also UNDERSTUDY_ADMIN_TOKEN."),
        click.option(
            "--admin", "url", envvar="UNDERSTUDY_ADMIN_URL", default=DEFAULT_URL, show_default=True, metavar="URL",
            help="The admin port; also UNDERSTUDY_ADMIN_URL.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


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
@_guarded
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
        raise _Unreadable(path, error) from error
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
@click.option("--connect", is_flag=True, help="Connect to the PostgreSQL of `store.url` too, and say what it promises.")
@_guarded
def check(
    path: Path | None,
    rates: tuple[float, ...],
    tokens: tuple[int, int],
    seconds: float,
    wants_schema: bool,
    as_json: bool,
    connect: bool,
) -> int:
    """Say in words what a configuration will do.

    Exit code 2 when it has mistakes; each is named with its line, its path and the nearest right spelling.

    \b
    Examples:
      understudy check --config understudy.yaml
      understudy check --config understudy.yaml --rate 250 --tokens 800/150
      understudy check --schema > understudy.schema.json
    """
    if wants_schema:
        click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
        return 0
    if path is None:
        raise click.UsageError("Missing option '--config' / '-c'.")
    try:
        config = load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(path, error) from error
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "mistakes": [asdict(mistake) for mistake in error.mistakes]}, indent=2))
            return BAD_USAGE
        raise
    if as_json:
        plans = {name: asdict(plan) for name, plan in config.plans.items()}
        click.echo(json.dumps({"ok": True, "warnings": list(warnings(config)), "plans": plans}, indent=2))
    else:
        click.echo(describe(config, rates or RATES, AssumedAnswer(*tokens, seconds)), nl=False)
    if connect and config.store.url is not None:
        from proxy.cli.stores import look_at_store  # the driver takes its time

        click.echo(asyncio.run(look_at_store(config.store.url)), err=as_json)
    return 0


@main.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end and print the URLs.")
@click.option("--json", "as_json", is_flag=True, help="Print the result of each act as JSON; progress goes to stderr.")
@_guarded
def demo(keep: bool, as_json: bool) -> int:
    """Watch a good candidate promoted and two bad ones rolled back.

    Real models on real data, on this machine, in under two minutes.

    \b
    Examples:
      understudy demo --keep
      understudy demo --json | jq '.acts[] | {rollout, state, pairs, client_errors}'
    """
    from proxy import demo as play  # scikit-learn is an extra

    return play.main(keep=keep, as_json=as_json)


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completion of a rollout's name, from the running proxy; nothing when there is none."""
    url = ctx.params.get("url") or DEFAULT_URL
    try:
        names = [rollout["name"] for rollout in AdminClient(url, ctx.params.get("token"), timeout=1.0).rollouts()]
    except UnderstudyError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@main.command()
@click.argument("rollout", required=False, shell_complete=_names)
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API answers.")
@click.option("--watch", is_flag=True, help="Refresh every --interval seconds until Ctrl-C.")
@click.option("--interval", default=2.0, show_default=True, type=click.FloatRange(min=0.1), metavar="SECONDS",
              help="Time between two refreshes.")  # fmt: skip
@_admin_options
@_guarded
def status(rollout: str | None, as_json: bool, watch: bool, interval: float, url: str, token: str | None) -> int:
    """Show rollouts: stage, weight, findings, ledger.

    \b
    Examples:
      understudy status
      understudy status credit/credit-v2 --watch
      understudy status --json | jq '.rollouts[].verdict'
    """
    admin = AdminClient(url, token)

    def text() -> str:
        found = [_one(admin, rollout)] if rollout else admin.rollouts()
        if as_json:  # followed by a program, one line each time
            return json.dumps(found[0] if rollout else {"rollouts": found}, indent=None if watch else 2)
        named = {one[arm] for one in found for arm in ("live", "candidate")}
        upstreams = {name: rows for name, rows in (admin.upstreams() if found else {}).items() if name in named}
        return "\n\n".join(filter(None, (overview(found), addresses(upstreams), _replicas(admin))))

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


def _one(admin: AdminClient, name: str) -> dict[str, Any]:
    try:
        return admin.rollout(name)
    except NotFoundError:
        raise _unknown(admin, name) from None


def _unknown(admin: AdminClient, name: str) -> UnderstudyError:
    names = [rollout["name"] for rollout in admin.rollouts()]
    hint = nearest(name, names) or (f"known: {', '.join(names)}" if names else "none is configured")
    return UnderstudyError(f"no rollout `{name}` ({hint})")


def _hand_action(action: str, about: str, example: str) -> Callable[..., Any]:
    """A command that does one thing to one rollout by hand."""

    def command(
        rollout: str, reason: str, actor: str, as_json: bool, url: str, token: str | None, full: bool = False
    ) -> int:
        admin = AdminClient(url, token)
        try:
            after = admin.act(rollout, action, reason=reason, actor=actor, full=full)
        except NotFoundError:
            raise _unknown(admin, rollout) from None
        click.echo(json.dumps(after, indent=2) if as_json else overview([after]))
        return 0

    command.__doc__ = f"{about}\n\n\b\nExample:\n  understudy {action} credit/credit-v2 --reason {example!r}"
    options: list[Callable[[Any], Any]] = [
        click.argument("rollout", shell_complete=_names),
        click.option("--reason", required=True, help="Why, for the journal and the webhook."),
        click.option("--actor", default=_me, show_default="you@host", help="Who it was, for the journal."),
        click.option("--json", "as_json", is_flag=True, help="Print the rollout afterwards as JSON."),
        _admin_options,
    ]
    if action == "promote":
        options.append(click.option("--full", is_flag=True, help="Straight to 100%, past the other stages."))
    whole = _guarded(command)
    for option in reversed(options):
        whole = option(whole)
    return main.command(action)(whole)


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"unknown@{socket.gethostname()}"


promote = _hand_action("promote", "Send a rollout to its next stage, or approve a pass.", "looks good in the console")
abort = _hand_action("abort", "Roll a rollout back.", "support tickets")
pause = _hand_action("pause", "Stop a rollout from advancing; it can still be rolled back.", "release freeze")
resume = _hand_action("resume", "Let a paused rollout advance again.", "the freeze is over")
retry = _hand_action("retry", "Try a rolled back version again; its evidence is kept.", "the database was down")
restart = _hand_action(
    "restart", "Begin a new trial of a rolled back version, without its old evidence.", "the limit was too strict"
)


_recording = click.argument("file", callback=recording)
_rollout_option = click.option(
    "--rollout",
    default="",
    metavar="ROUTE/CANDIDATE",
    help="The rollout whose plan is used; by default the recording's own.",
)


_verdicts_option = click.option(
    "--verdicts",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where verdicts of judges are kept, so that none is asked for twice; by default beside the recording.",
)


@main.command()
@click.argument("file", callback=recording_or_store)
@click.option("--config", "-c", "path", envvar="UNDERSTUDY_CONFIG", metavar="FILE", type=click.Path(path_type=Path),
              help="The guards to judge by; not needed for a store's journal.")  # fmt: skip
@_rollout_option
@_verdicts_option
@click.option("--json", "as_json", is_flag=True, help="Print findings, counts and the verdict as JSON.")
@_guarded
def judge(file: Path | StoreUrl, path: Path | None, rollout: str, verdicts: Path | None, as_json: bool) -> int:
    """Judge recorded pairs, or a store's journal, again.

    A recorded file is judged by the guards of --config, each version in it by itself: would they have fired last week?
    Every entry of a journal is judged by the evidence saved with it, which must say what it said then. Exit code 1: one
    would have been rolled back, or one differs. A store may be in use: it is read only.

    A prediction's judge is asked about the pairs that are drawn, within its max_cost. A second run asks nothing again.

    \b
    Examples:
      understudy judge state/pairs.jsonl.zst --config stricter.yaml
      understudy judge state/understudy.db
      understudy judge 'postgresql://understudy:${PGPASSWORD}@db/understudy'
    """
    from proxy.cli.judge import judge_file  # numpy takes its time, and the other commands need none

    config = _config(path) if path is not None else None
    return judge_file(file, config, rollout, as_json=as_json, kept=verdicts)


@main.command()
@_recording
@config_option
@_rollout_option
@click.option("--candidate", required=True, metavar="URL", help="The model server to test.")
@click.option(
    "--live",
    metavar="URL",
    help="Send the requests to live as well; without it latency relative to live is not judged.",
)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="Header of requests to the candidate, ${NAME} from the environment; may be repeated.")  # fmt: skip
@click.option("--live-header", "live_headers", multiple=True, metavar="'NAME: VALUE'",
              help="The same for requests to live.")  # fmt: skip
@click.option("--rate", default=50.0, show_default=True, type=click.FloatRange(min=0.1), metavar="N",
              help="Requests per second.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Send the first N requests only.")
@click.option(
    "--until-verdict", is_flag=True, help="Stop as soon as it passes or fails; its error rates stay the same."
)
@_verdicts_option
@click.option("--json", "as_json", is_flag=True, help="Print findings, counts and the verdict as JSON.")
@click.option("--junit", "xml", type=click.Path(path_type=Path), metavar="FILE", help="Write a JUnit report.")
@click.option("--allow-inconclusive", is_flag=True, help="Exit code 0 when it is inconclusive.")
@_guarded
def replay(
    file: Path,
    path: Path,
    rollout: str,
    candidate: str,
    live: str | None,
    headers: tuple[str, ...],
    live_headers: tuple[str, ...],
    rate: float,
    limit: int | None,
    until_verdict: bool,
    verdicts: Path | None,
    as_json: bool,
    xml: Path | None,
    allow_inconclusive: bool,
) -> int:
    """Send recorded requests to a candidate not deployed yet.

    Exit code 0: it passes; 1: it fails, or it is inconclusive; 2: no connection can be made to it.

    \b
    Example:
      understudy replay pairs.jsonl.gz --candidate http://127.0.0.1:9002 -c understudy.yaml --junit replay.xml
    """
    from proxy.cli.judge import replay_file

    return replay_file(
        file, _config(path), rollout, candidate=candidate, live=live, headers=headers, live_headers=live_headers,
        rate=rate, as_json=as_json, xml=xml, allow_inconclusive=allow_inconclusive, limit=limit,
        until_verdict=until_verdict, kept=verdicts,
    )  # fmt: skip


@main.command()
@click.argument("rollout", required=False, shell_complete=_names)
@click.option("--recording", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="Read a recorded file instead of a running rollout.")  # fmt: skip
@click.option("--config", "-c", "path", envvar="UNDERSTUDY_CONFIG", metavar="FILE", type=click.Path(path_type=Path),
              help="The configuration, for reading a recording's responses; also UNDERSTUDY_CONFIG.")  # fmt: skip
@click.option("--rate", "rates", multiple=True, type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Requests per second to assume; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was measured, limits and costs as JSON.")
@_admin_options
@_guarded
def suggest(
    rollout: str | None,
    file: Path | None,
    path: Path | None,
    rates: tuple[float, ...],
    as_json: bool,
    url: str,
    token: str | None,
) -> int:
    """Suggest limits from how much two equivalent models differ.

    Train live's own recipe once more, run that in shadow under generous limits (or record it), then run this. What it
    prints can be pasted under the rollout: each guard with what was measured, and with the pairs and the time until a
    candidate like that one passes, and until one at twice the limit fails. Exit code 1: nothing is measured yet.

    \b
    Examples:
      understudy suggest credit/credit-v2 --rate 250
      understudy suggest --recording state/pairs.jsonl.zst --config understudy.yaml
    """
    from proxy.cli.suggest import of_recording, of_rollout, show  # numpy takes its time

    if file is not None:
        if path is None:
            raise click.UsageError("Missing option '--config' / '-c': it says how a recording's responses are read.")
        found = of_recording(file, _config(path), rollout or "")
    else:
        admin = AdminClient(url, token)
        names = [rollout] if rollout else [one["name"] for one in admin.rollouts()]
        if len(names) != 1:
            raise UnderstudyError(f"name one rollout; known: {', '.join(names) or 'none'}")
        found = of_rollout(_one(admin, names[0]))
    return show(found, rates or (10.0, 100.0), as_json=as_json)


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
@_guarded
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


def _config(path: Path) -> Config:
    try:
        return load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(path, error) from error


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_guarded
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
