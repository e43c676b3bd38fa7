"""What the commands have in common: options, exit codes, how mistakes are told, and rollouts by their name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from proxy.cli.admin import DEFAULT_URL, AdminClient, NotFoundError
from proxy.errors import AddressError, ConfigError, UnderstudyError
from proxy.spelling import nearest

FAILED, BAD_USAGE = 1, 2
"""Exit codes."""


class UnreadableFile(click.ClickException):
    """A configuration file that cannot be read."""

    exit_code = BAD_USAGE

    def __init__(self, path: Path, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        super().__init__(f"cannot read {path}: {reason}")


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
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


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where the admin port is, and with which token."""
    for option in (
        click.option("--token", envvar="UNDERSTUDY_ADMIN_TOKEN", help="Admin token; also UNDERSTUDY_ADMIN_TOKEN."),
        click.option(
            "--admin", "url", envvar="UNDERSTUDY_ADMIN_URL", default=DEFAULT_URL, show_default=True, metavar="URL",
            help="The admin port; also UNDERSTUDY_ADMIN_URL.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def rollout_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completion of a rollout's name, from the running proxy; nothing when there is none."""
    url = ctx.params.get("url") or DEFAULT_URL
    try:
        names = [rollout["name"] for rollout in AdminClient(url, ctx.params.get("token"), timeout=1.0).rollouts()]
    except UnderstudyError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def rollout_named(admin: AdminClient, name: str) -> dict[str, Any]:
    """One rollout as the admin port tells it; raises `UnderstudyError` with a hint where there is none."""
    try:
        return admin.rollout(name)
    except NotFoundError:
        raise unknown_rollout(admin, name) from None


def unknown_rollout(admin: AdminClient, name: str) -> UnderstudyError:
    """That there is no rollout of this name, and which was most likely meant."""
    names = [rollout["name"] for rollout in admin.rollouts()]
    hint = nearest(name, names) or (f"known: {', '.join(names)}" if names else "none is configured")
    return UnderstudyError(f"no rollout `{name}` ({hint})")
