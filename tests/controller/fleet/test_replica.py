"""Promise: a replica whose database cannot be used says why and which, and leaves no connection behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.controller.replica import Replica
from proxy.controller.supervisor_link import SupervisorLink
from proxy.errors import StoreError
from proxy.pairs.channel import Channel
from tests.ports import free_port
from tests.postgres import Postgres

CONFIG = """
upstreams: {{l: {{url: 'http://127.0.0.1:1'}}}}
routes: [{{name: r, live: l}}]
store: {{url: '{url}'}}
fleet: {{listen: '127.0.0.1:{port}'}}
"""


async def test_a_store_of_a_newer_version_is_named_and_left(
    tmp_path: Path, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.psql("CREATE SCHEMA understudy; CREATE TABLE understudy.meta (key text PRIMARY KEY, value text NOT NULL)")
    postgres.psql("INSERT INTO understudy.meta VALUES ('schema', '99')")
    text = CONFIG.format(url=postgres.url, port=free_port())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = SupervisorLink(Channel(lambda *_: None))
        replica = Replica(parse(text, directory=tmp_path), text, link, tmp_path, listener)
        with pytest.raises(
            StoreError, match=f"{postgres.target.database}: schema 99 is from a newer Understudy"
        ) as refused:
            await replica._connect(None)
    other = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await postgres.becomes(other, "0")  # and not by the collector: `refused` holds all that was there
    assert refused.value.args
    assert not [one for one in caplog.records if one.message == "store.disconnected"]  # nor by the server, after 10 s
