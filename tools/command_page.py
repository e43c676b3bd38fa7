"""Write docs/cli.md from the command line itself: `make docs`. A test keeps the page current."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy import cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
INTRODUCTION = """\
# Command line

<!-- Written by `make docs` from the command line; edit proxy/cli/ instead. -->

`understudy` and `python -m proxy` are the same. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration. A rollout's
name is `ROUTE/CANDIDATE`, e.g. `credit/credit-v2`. `understudy status --help` prints the section `status` of this page.

Commands that ask a running proxy find it at `--admin` (or `UNDERSTUDY_ADMIN_URL`), by default
<http://127.0.0.1:9090>, and show it the token in `--token` (or `UNDERSTUDY_ADMIN_TOKEN`). With `--json` they print
what the API answers, for `jq` and scripts.

Completion, of the names of running rollouts too, comes with one line in your shell's start file:

```sh
eval "$(understudy completion bash)"
```

For zsh it is the same with `zsh`; for fish:

```sh
understudy completion fish > ~/.config/fish/completions/understudy.fish
```
"""


def page() -> str:
    """The page: each command with its arguments, options and examples."""
    return INTRODUCTION + "".join(_section(name, one) for name, one in every_command())


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command by its name; those of a group by both words."""
    for name in cli.COMMANDS:
        command = cli.command(name)
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield name, command
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())
        else:
            yield name, command


def _section(name: str, command: click.Command) -> str:
    words = inspect.cleandoc(command.help or "")
    text, _, examples = words.partition("\b\n")
    shown = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option)]
    usage = " ".join(["understudy", name, *(_argument(one) for one in arguments), *["[OPTIONS]"][: len(options)]])
    parts = [f"## {name}", f"```text\n{usage}\n```", _prose(text), "```sh\n" + "\n".join(shown) + "\n```"]
    if options:
        rows = [f"| {_names(one)} | {_cell(one.help or '')} | {_default(one)} |" for one in options]
        parts.append("\n".join(["| option | meaning | default |", "|---|---|---|", *rows]))
    return "".join(f"\n{part}\n" for part in parts)


def _argument(one: click.Argument) -> str:
    name = "|".join(one.type.choices) if isinstance(one.type, click.Choice) else one.human_readable_name
    return name if one.required else f"[{name}]"


def _prose(text: str) -> str:
    """Paragraphs as they are; options and values in them as code."""
    return re.sub(r"(?<![`\w])(--[a-z-]+)", r"`\1`", text.strip())


def _names(one: click.Option) -> str:
    value = "" if one.is_flag else f" {one.metavar or one.type.name.upper()}"
    must = " (required)" if one.required else ""
    return ", ".join(f"`{name}{value}`" for name in reversed(one.opts)) + must


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(one: click.Option) -> str:
    if isinstance(one.show_default, str):
        return one.show_default
    return f"`{one.default}`" if one.show_default else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print("Wrote", PAGE)
