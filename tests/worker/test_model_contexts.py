"""Promise: contexts towards models are made once, whatever is refused meanwhile and whoever else asks; a file that has
changed is read, also one of those that this machine trusts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.model.worker_config import TlsSpec, UpstreamSpec
from proxy.worker import tls
from proxy.worker.tls import ModelContexts


def upstream(number: int, spec: TlsSpec | None = None) -> UpstreamSpec:
    """One with a context of its own."""
    given = TlsSpec(ca=__file__, verify=bool(number % 2)) if spec is None else spec
    return UpstreamSpec(("https://a:1" if number < 2 else "grpcs://a:1",), 1.0, 1.0, 1, 1.0, tls=given)


ONE, TWO, THREE = map(upstream, range(3))


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> ModelContexts:
    monkeypatch.setattr(tls, "for_models", lambda *_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return ModelContexts()


def test_a_reload_that_is_refused_loses_no_context(contexts: ModelContexts) -> None:
    contexts.make([ONE])
    contexts.settle([ONE])
    mine = contexts.of(ONE)
    contexts.make([TWO])  # and it is refused
    assert contexts.of(ONE) is mine


def test_what_a_reload_has_made_is_there_when_a_table_comes_before_it_is_in_force(contexts: ModelContexts) -> None:
    contexts.make([ONE, TWO])
    made = contexts.of(TWO)
    contexts.settle([ONE])
    assert contexts.of(TWO) is made


def test_what_is_asked_for_no_more_is_forgotten(contexts: ModelContexts) -> None:
    contexts.make([ONE])
    mine = contexts.of(ONE)
    contexts.make([TWO])
    contexts.settle([TWO])
    assert contexts.of(ONE) is not mine


@pytest.mark.parametrize("call", [ModelContexts.make, ModelContexts.settle])
def test_others_may_ask_at_any_moment(call: Callable[..., None], contexts: ModelContexts) -> None:
    """A thread makes contexts while the loop asks for others."""

    class Meddling(TlsSpec, frozen=True):
        def __hash__(self) -> int:
            if asking:
                number = asking.pop()
                contexts.of(upstream(number % 3, TlsSpec(ca=__file__, verify=number > 2)))
            return super().__hash__()

    asking: list[int] = []
    mine = upstream(0, Meddling(ca=__file__))
    contexts.make([mine, ONE])
    asking = list(range(6))
    call(contexts, [mine])
    asking = []
    contexts.settle([ONE])
    assert contexts.of(ONE) is contexts.of(ONE)


def test_of_two_that_make_the_same_at_once_both_get_the_same(
    contexts: ModelContexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, inner = tls.for_models, list[Any]()

    def slow(*key: Any) -> ssl.SSLContext:
        monkeypatch.setattr(tls, "for_models", make)
        inner.append(contexts.of(ONE))
        return make(*key)

    monkeypatch.setattr(tls, "for_models", slow)
    assert contexts.of(ONE) is inner[0] is contexts.of(ONE)


def test_what_this_machine_trusts_is_looked_at(
    contexts: ModelContexts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of certificates, and a directory of them."""
    folder, file = tmp_path / "certs", tmp_path / "ca.pem"
    folder.mkdir()
    file.touch()
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    one = upstream(0, TlsSpec())
    seen = [contexts.of(one)]
    assert contexts.of(one) is seen[0]
    for changed in (folder, file):
        os.utime(changed, ns=(1, 1))
        assert contexts.of(one) not in seen
        seen.append(contexts.of(one))
        assert contexts.of(one) is seen[-1]
