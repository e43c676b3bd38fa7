"""`understudy serve`: the supervisor itself, so that it loads little else."""

from __future__ import annotations

from pathlib import Path

import click

from proxy import supervisor
from proxy.cli.options import UnreadableFile, config_option, guarded


@click.command()
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
    try:
        path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(path, error) from error
    return supervisor.run(path)
