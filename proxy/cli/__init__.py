"""The command line, thin: each command reads its options, calls one function and turns what comes back into a code.

Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, an address that is taken included. What a person reads goes
to standard output, what went wrong to standard error.
"""

from __future__ import annotations

import gc
import os
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from proxy import __version__
from proxy.built import DATA_PATH
from proxy.spelling import nearest

COMMANDS = {
    "serve": ("serve", "Run the proxy."),
    "check": ("check", "Say in words what a configuration will do."),
    "demo": ("demo", "Watch a good candidate promoted and two bad ones rolled back."),
    "status": ("rollouts", "Show rollouts, the worst first: several in a line each; one whole."),
    "promote": ("rollouts", "Send a rollout to its next stage, or approve a pass."),
    "abort": ("rollouts", "Roll a rollout back."),
    "pause": ("rollouts", "Stop a rollout from advancing; it can still be rolled back."),
    "resume": ("rollouts", "Let a paused rollout advance again."),
    "retry": ("rollouts", "Try a rolled back version again; its evidence is kept."),
    "restart": ("rollouts", "Begin a new trial of a rolled back version, without its old evidence."),
    "outcomes": ("outcomes", "Post outcomes of users and labels of requests from FILE; `-` is standard input."),
    "drift": ("drift", "Show what drifts in live's requests and answers: every field that is watched."),
    "judge": ("recorded", "Judge recorded pairs, or a store's journal, again."),
    "replay": ("recorded", "Send recorded requests to a candidate not deployed yet."),
    "suggest": ("recorded", "Suggest limits from how much two equivalent models differ."),
    "store": ("stores", "Do something with a store while no replica uses it."),
    "completion": ("completion", "Print a completion script for your shell."),
}
"""Commands in the order in which they are needed: the file of `cli` that each stands in, and what it does. Only the one
that is asked for is imported; `check` alone takes half a second."""


def command(name: str) -> click.Command:
    """A command by its name; raises `KeyError`."""
    file, _ = COMMANDS[name]
    gc.disable()  # what is imported stays: looking for garbage in it takes a twentieth of the time
    try:
        found = getattr(import_module(f"proxy.cli.{file}"), name)
    finally:
        gc.enable()
    assert isinstance(found, click.Command)
    return found


class _Group(click.Group):
    """Commands that are imported when they are used, and a hint for a misspelt one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return command(cmd_name)
        if not ctx.resilient_parsing:
            hint = nearest(cmd_name, COMMANDS)
            ctx.fail(f"No such command '{cmd_name}'" + (f" ({hint})." if hint else "."))
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        options = click.Command.shell_complete(self, ctx, incomplete)
        named = [(name, about) for name, (_, about) in COMMANDS.items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=about) for name, about in named), *options]


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
