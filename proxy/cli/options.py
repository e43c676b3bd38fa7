"""What the commands have in common: options, exit codes, and how mistakes are told."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.errors import AddressError, ConfigError, UnderstudyError

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
