"""Promise: what a configuration names on the disk is looked at before anything starts, and told by the file's name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxy.config import load, parse
from proxy.errors import ConfigError

SERVER = "upstreams: {m: {url: 'https://m:1'%s}}\nroutes: [{name: r, live: m}]\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two certificates and their keys, one key once more encrypted, and a file that is neither."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=m",
             "-keyout", f"{name}.key", "-out", f"{name}.crt"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", "one.key", "-out", "locked.key"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "junk").write_text("hello")
    return folder


def said(folder: Path, text: str) -> dict[str, str]:
    """What is said of a configuration in `folder`, by path."""
    (folder / "u.yaml").write_text(text)
    try:
        load(folder / "u.yaml", {})
    except ConfigError as error:
        return {mistake.path: mistake.problem for mistake in error.mistakes}
    return {}


@pytest.mark.parametrize(
    ("tls", "path", "problem"),
    [
        ("ca: nowhere", "ca", "cannot read {folder}/nowhere: No such file or directory"),
        ("ca: junk", "ca", "{folder}/junk contains no PEM certificate"),
        ("ca: .", "ca", "cannot read {folder}: Is a directory"),
        ("cert: nowhere, key: one.key", "cert", "cannot read {folder}/nowhere: No such file or directory"),
        ("cert: junk, key: one.key", "cert", "{folder}/junk is not a PEM certificate"),
        ("cert: one.crt, key: junk", "key", "{folder}/junk is not a PEM private key"),
        ("cert: one.crt, key: two.key", "key", "{folder}/two.key is not the key of {folder}/one.crt"),
        ("cert: one.crt, key: locked.key", "key", "{folder}/locked.key is encrypted, and no password"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_a_mistake(keys: Path, tls: str, path: str, problem: str) -> None:
    ((where, words),) = said(keys, SERVER % f", tls: {{{tls}}}").items()
    assert (where, words[: len(problem.format(folder=keys))]) == (
        f"upstreams.m.tls.{path}",
        problem.format(folder=keys),
    )
    if "ca:" not in tls:
        ((where, words),) = said(keys, SERVER % "" + f"server: {{tls: {{{tls}}}}}").items()
        assert where == f"server.tls.{path}"
    ((where, _),) = said(keys, SERVER % "" + "server: {tls: {cert: one.crt, key: one.key, client_ca: junk}}").items()
    assert where == "server.tls.client_ca"


@pytest.mark.parametrize(
    ("tls", "path", "problem"),
    [
        ("cert: nowhere, key: one.key, ca: one.crt", "cert", "cannot read {folder}/nowhere: No such file or directory"),
        ("cert: one.crt, key: two.key, ca: one.crt", "key", "{folder}/two.key is not the key of {folder}/one.crt"),
        ("cert: one.crt, key: one.key, ca: junk", "ca", "{folder}/junk contains no PEM certificate"),
    ],
)
def test_so_it_is_between_the_replicas_of_a_fleet(keys: Path, tls: str, path: str, problem: str) -> None:
    store = "store: {url: 'postgresql://understudy@127.0.0.1/understudy'}\n"
    text = SERVER % "" + store + f"fleet: {{listen: 127.0.0.1:9091, tls: {{{tls}}}}}"
    assert said(keys, text) == {f"fleet.tls.{path}": problem.format(folder=keys)}


def test_certificates_that_fit_are_none(keys: Path) -> None:
    text = SERVER % ", tls: {ca: two.crt, cert: one.crt, key: one.key}"
    assert said(keys, text + "server: {tls: {cert: two.crt, key: two.key, client_ca: one.crt}}") == {}


def test_a_place_that_cannot_be_written_to_is_a_mistake(keys: Path) -> None:
    record = "rollouts: [{candidate: n, shadow: 5%, record: {path: junk/p.jsonl}}]"
    text = (
        "upstreams: {m: {url: 'http://m:1'}, n: {url: 'http://n:1'}}\n"
        f"routes: [{{name: r, live: m, {record}}}]\n"
        "store: {path: junk/state/u.db}\nlog: {access: {path: /dev/null/access.log}}\n"
    )
    assert said(keys, text) == {
        "store.path": f"cannot write {keys}/junk/state/u.db: {keys}/junk is not a directory",
        "routes[0].rollouts[0].record.path": f"cannot write {keys}/junk/p.jsonl: {keys}/junk is not a directory",
        "log.access.path": "cannot write /dev/null/access.log: /dev/null is not a directory",
    }
    assert (
        said(keys, SERVER % "" + "store: {path: .}")["store.path"] == f"cannot write {keys}: it is not a regular file"
    )
    assert not (keys / "state").exists(), "looking makes nothing"


def test_a_file_that_never_was_a_store_is_not_made_one(tmp_path: Path) -> None:
    store = tmp_path / "model.bin"
    text = SERVER % "" + "store: {path: model.bin}"
    store.write_bytes(b"weights of a model")
    assert said(tmp_path, text) == {"store.path": f"{store} exists and is not a store"}
    (tmp_path / "model.bin.lock").touch()
    assert said(tmp_path, text) == {}, "a store that went bad does not keep the proxy from starting"
    (tmp_path / "model.bin.lock").unlink()
    for fine in (b"", b"SQLite format 3\0 and so on"):
        store.write_bytes(fine)
        assert said(tmp_path, text) == {}


def test_each_configuration_has_a_store_of_its_own_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(SERVER % "")
    stores = [load(tmp_path / name).store.path for name in ("one.yaml", "two.yaml")]
    assert stores == [str(tmp_path / "state" / "one.db"), str(tmp_path / "state" / "two.db")]
    assert parse(SERVER % "" + "store: {}", directory=tmp_path).store.path == str(tmp_path / "state" / "understudy.db")
