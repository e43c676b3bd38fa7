"""Promise: what the supervisor decides by itself (pauses, addresses, what needs a restart) is right."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import sockets, supervisor
from proxy.errors import UnderstudyError


@given(st.lists(st.floats(0, 1000), max_size=30), st.floats(1000, 2000))
def test_pauses_are_bounded_and_the_first_is_none(deaths: list[float], now: float) -> None:
    pause = supervisor.pause_before_restart(deaths, now)
    assert 0 <= pause <= 5
    assert supervisor.pause_before_restart([now], now) == 0


def test_a_taken_address_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnderstudyError, match=f"cannot listen on {address}: Address already in use"):
            sockets.listen(address, share=False)


def test_slots_share_one_port() -> None:
    with sockets.listen("127.0.0.1:0", share=True) as first:
        port = first.getsockname()[1]
        with sockets.listen(f"127.0.0.1:{port}", share=True) as second:
            assert second.getsockname() == first.getsockname()
