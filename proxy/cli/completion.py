"""`understudy completion`: a script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from proxy.cli.options import guarded
from proxy.errors import UnderstudyError


@click.command()
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
    click.echo(kind(click.get_current_context().find_root().command, {}, "understudy", "_UNDERSTUDY_COMPLETE").source())
    return 0
