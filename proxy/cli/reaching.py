"""What the commands that ask the admin port have in common: where it is, and rollouts by their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from proxy.cli.admin import DEFAULT_URL, AdminClient, NotFoundError
from proxy.errors import UnderstudyError
from proxy.spelling import nearest


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
