"""Commands about what was recorded: judge it again, send it to a candidate, learn limits from it."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.admin import AdminClient
from proxy.cli.arguments import read_config, recording, recording_or_store
from proxy.cli.options import config_option, guarded
from proxy.cli.reaching import admin_options, rollout_named, rollout_names
from proxy.config.postgres_url import StoreUrl
from proxy.errors import UnderstudyError

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


@click.command()
@click.argument("file", callback=recording_or_store)
@click.option("--config", "-c", "path", envvar="UNDERSTUDY_CONFIG", metavar="FILE", type=click.Path(path_type=Path),
              help="The guards to judge by; not needed for a store's journal.")  # fmt: skip
@_rollout_option
@_verdicts_option
@click.option("--json", "as_json", is_flag=True, help="Print findings, counts and the verdict as JSON.")
@click.option("--verify", is_flag=True, help="Check a store's journal for changed, removed and moved entries.")
@click.option("--head", metavar="NUMBER:HASH", help="With --verify: an entry's hash as it was noted elsewhere.")
@guarded
def judge(
    file: Path | StoreUrl,
    path: Path | None,
    rollout: str,
    verdicts: Path | None,
    as_json: bool,
    verify: bool,
    head: str | None,
) -> int:
    """Judge recorded pairs, or a store's journal, again.

    A recorded file is judged by the guards of --config, each version in it by itself: would they have fired last week?
    Every entry of a journal is judged by the evidence saved with it, which must say what it said then. Exit code 1: one
    would have been rolled back, or one differs. A store may be in use: it is read only.

    --verify checks instead that no entry of a journal was changed, removed or moved since it was written: each carries
    a hash of itself and of the one before. Whoever can write to the whole store could write all of it anew; --head
    compares it with what a webhook or the API said before (`journal`).

    A prediction's judge is asked about the pairs that are drawn, within its max_cost. A second run asks nothing again.

    \b
    Examples:
      understudy judge state/pairs.jsonl.zst --config stricter.yaml
      understudy judge state/understudy.db
      understudy judge 'postgresql://understudy:${PGPASSWORD}@db/understudy'
      understudy judge state/understudy.db --verify --head 812:9f86d081…
    """
    if verify or head is not None:
        if not verify:
            raise click.UsageError("--head needs --verify")
        from proxy.cli.verify import verify_store

        return verify_store(file, head, as_json=as_json)
    from proxy.cli.judge import judge_file  # numpy takes its time, and the other commands need none

    config = read_config(path) if path is not None else None
    return judge_file(file, config, rollout, as_json=as_json, kept=verdicts)


@click.command()
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
@guarded
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
        file, read_config(path), rollout, candidate=candidate, live=live, headers=headers, live_headers=live_headers,
        rate=rate, as_json=as_json, xml=xml, allow_inconclusive=allow_inconclusive, limit=limit,
        until_verdict=until_verdict, kept=verdicts,
    )  # fmt: skip


@click.command()
@click.argument("rollout", required=False, shell_complete=rollout_names)
@click.option("--recording", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="Read a recorded file instead of a running rollout.")  # fmt: skip
@click.option("--config", "-c", "path", envvar="UNDERSTUDY_CONFIG", metavar="FILE", type=click.Path(path_type=Path),
              help="The configuration, for reading a recording's responses; also UNDERSTUDY_CONFIG.")  # fmt: skip
@click.option("--rate", "rates", multiple=True, type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Requests per second to assume; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was measured, limits and costs as JSON.")
@admin_options
@guarded
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
    from proxy.cli.suggest import of_recording, of_rollout, print_proposals  # numpy takes its time

    if file is not None:
        if path is None:
            raise click.UsageError("Missing option '--config' / '-c': it says how a recording's responses are read.")
        found = of_recording(file, read_config(path), rollout or "")
    else:
        admin = AdminClient(url, token)
        names = [rollout] if rollout else [one["name"] for one in admin.rollouts()]
        if len(names) != 1:
            raise UnderstudyError(f"name one rollout; known: {', '.join(names) or 'none'}")
        found = of_rollout(rollout_named(admin, names[0]))
    return print_proposals(found, rates or (10.0, 100.0), as_json=as_json)
