"""`understudy demo`."""

from __future__ import annotations

import click

from proxy.cli.options import guarded


@click.command()
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
