"""Promise: `store.url` is read as libpq reads it or refused by the word, a password in it is never shown, and one in a
file is read again for each connection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Config, load, parse
from proxy.config.postgres_url import REFUSED, PostgresTarget, read_target
from proxy.config.words import describe
from proxy.config_reader import fixed
from proxy.controller.store.postgres.session import read_place
from proxy.errors import ConfigError, StoreError
from proxy.handover import needs_restart
from proxy.units import Unfit

BASE = "upstreams: {m: {url: 'http://m:1'}}\nroutes: [{name: r, live: m}]\nfleet: {listen: 127.0.0.1:9091}\n"


def config(url: str, folder: Path | None = None, **environ: str) -> Config:
    return parse(f"{BASE}store: {{url: '{url}'}}", directory=folder or ".", environ=environ)


def target(url: str, folder: Path | None = None, **environ: str) -> PostgresTarget:
    found = config(url, folder, **environ).store.url
    assert found is not None
    return found.target()


def refusal(url: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        config(url, **environ)
    (mistake,) = refused.value.mistakes
    assert mistake.path == "store.url"
    return mistake.problem


def test_a_url_says_hosts_user_and_database() -> None:
    found = target("postgresql://me:s%40cret@db1,db2:6432,[::1]/state?sslmode=require&application_name=a%20b")
    assert found.hosts == (("db1", 5432), ("db2", 6432), ("::1", 5432))
    assert (found.user, found.password, found.database) == ("me", "s@cret", "state")
    assert (found.sslmode, found.application_name) == ("require", "a b")
    assert target("postgres://me@db").database == "me"
    assert target("postgresql:///state?host=a,b&port=1,2&user=me&password=p%2Bq+r").hosts == (("a", 1), ("b", 2))
    assert target("postgresql:///state?host=a&user=me&password=p%2Bq+r").password == "p+q+r", "a `+` is no space"


@pytest.mark.parametrize(
    ("host", "mode"),
    [("db", "verify-full"), ("10.0.0.1", "verify-full"), ("127.0.0.1", "disable"), ("%2Frun", "disable"),
     ("localhost,db", "verify-full")],
)  # fmt: skip
def test_off_this_machine_the_server_is_known_by_name(host: str, mode: str) -> None:
    assert target(f"postgresql://u@{host}/d").sslmode == mode


@pytest.mark.parametrize("word", sorted(REFUSED))
def test_a_word_that_cannot_be_kept_is_refused_by_name(word: str) -> None:
    assert f"`{word}` ({REFUSED[word]})" in refusal(f"postgresql://u@db/d?{word}=1")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u@db/d", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://db/d", "with a user"),
        ("postgresql://u@/d", "with a host"),
        ("postgresql://u@db:x/d", "from 1 to 65535"),
        ("postgresql://u@db:0/d", "from 1 to 65535"),
        ("postgresql://u@::1/d", "[ADDRESS]:PORT"),
        ("postgresql://u@a,b,c/d?port=1,2", "as many ports as hosts"),
        ("postgresql://u@db/d?sslmode=allow", "verify-full"),
        ("postgresql://u@db/d?sslmode=require&sslmode=disable", "once"),
        ("postgresql://u@db/d?target_session_attrs=any", "the primary is always looked for"),
        ("postgresql://u@db/d?connect_timeout=0", "from 1 to 10"),
        ("postgresql://u@db/d?statement_timeout=1", "no word of libpq"),
        ("postgresql://u:${PW}@db/d", "PW is not set"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_of_the_url(url: str, said: str) -> None:
    problem = refusal(url)
    assert said in problem
    assert "db/d" not in problem


@given(st.text().map(lambda text: f"Zq7#{text}"))
def test_a_password_of_any_letters_arrives_as_it_is_and_is_never_shown(password: str) -> None:
    text = f"{BASE}store: {{url: 'postgresql://me:${{PW}}@db/state'}}"
    found = parse(text, environ={"PW": password})
    assert found.store.url is not None
    assert found.store.url.target().password == password
    shown = f"{found!r}{found.store.url.target()!r}{describe(found)}{found.model_dump_json(include={'store'})}"
    assert "Zq7#" not in shown
    assert "postgresql://me@db:5432/state" in describe(found)


@pytest.mark.parametrize("broken", ["postgresql://me:hunter2/@:x/d", "postgresql://me:hun@ter2@db/d?sslmode=hunter2"])
def test_a_mistake_never_shows_a_password(broken: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(broken)
    assert "hunter2" not in str(refused.value)


def test_a_password_in_a_file_is_read_again_for_each_connection(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("first@/\n")
    url = config("postgresql://me:${file:pw}@db/state", tmp_path).store.url
    assert url is not None
    assert read_place(url).password == "first@/"
    (tmp_path / "pw").write_text("second")
    assert read_place(url).password == "second"
    (tmp_path / "pw").unlink()
    with pytest.raises(StoreError, match=r"pw cannot be read"):
        read_place(url)


def test_a_whole_url_may_stand_in_a_variable() -> None:
    assert target("${URL}", URL="postgresql://me:p%40@a,b/d").hosts == (("a", 5432), ("b", 5432))
    assert target("postgresql://${USER}@${HOSTS}/d", USER="m/e", HOSTS="a:1,b:2").hosts == (("a", 1), ("b", 2))


def test_either_a_file_or_a_url() -> None:
    with pytest.raises(ConfigError, match="either `path` or `url`"):
        parse(f"{BASE}store: {{path: a.db, url: 'postgresql://u@db/d'}}")
    assert "expected a URL" in str(_refused(f"{BASE}store: {{url: 7}}"))


def _refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    return refused.value


def test_another_url_needs_a_restart_and_another_password_does_not(tmp_path: Path) -> None:
    one = config("postgresql://me:${PW}@db/d", tmp_path, PW="a")
    other = config("postgresql://me:${PW}@db/d", tmp_path, PW="b")
    assert needs_restart(fixed(one), fixed(other)) == []
    elsewhere = config("postgresql://me:${PW}@db2/d", tmp_path, PW="a")
    assert needs_restart(fixed(one), fixed(elsewhere)) == ["store"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [("disable", "as it is"), ("prefer", "on the way"), ("require", "anybody may be"), ("verify-ca", "any server")],
)
def test_check_says_what_less_than_verify_full_leaves_open(mode: str, said: str) -> None:
    assert said in describe(config(f"postgresql://u@db/d?sslmode={mode}"))
    assert "sslmode" not in describe(config(f"postgresql://u@127.0.0.1/d?sslmode={mode}"))
    assert "sslmode" not in describe(config("postgresql://u@db/d"))


def test_certificates_that_the_url_names_are_looked_at_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "u.yaml").write_text(f"{BASE}store: {{url: 'postgresql://u@db/d?sslrootcert=ca.crt&sslcert=my.crt'}}")
    (tmp_path / "ca.crt").write_text("hello")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "u.yaml", {})
    said = str(refused.value)
    assert f"{tmp_path}/ca.crt contains no PEM certificate" in said
    assert f"cannot read {tmp_path}/my.crt" in said


def test_a_url_is_written_as_it_is_read() -> None:
    one = read_target("postgresql://me@a,[::1]:7/state")
    assert read_target(one.shown) == one
    assert replace(one, password="x").shown == one.shown
    with pytest.raises(Unfit):
        read_target("")
