"""Promise: where our count of a message and llhttp's opinion differ, nothing is passed on.

Both are strict, and no bytes are known that they read differently; so a parser that errs stands in for llhttp here.
"""

from __future__ import annotations

import pytest

from proxy.http.framing import Framing, FramingError
from proxy.http.headers import CHUNKED, UNTIL_CLOSE


class Erring:
    """Says that a message is complete after so many feeds, the head being the first."""

    def __init__(self, protocol: Framing, ends_at: int) -> None:
        self.protocol, self.ends_at = protocol, ends_at

    def feed_data(self, data: bytes) -> None:
        self.ends_at -= 1
        if not self.ends_at:
            self.protocol.on_message_complete()


def framing(ends_at: int) -> Framing:
    one = Framing(lambda protocol: Erring(protocol, ends_at))  # type: ignore[arg-type, return-value]
    one.head(b"")
    return one


@pytest.mark.parametrize("ends_at", [2, 0])
def test_a_message_without_a_body_that_llhttp_expects_one_of(ends_at: int) -> None:
    framing(1).open(0)
    with pytest.raises(FramingError):
        framing(ends_at).open(0)


@pytest.mark.parametrize(("length", "pieces"), [(4, (b"ab", b"cd")), (CHUNKED, (b"2\r\nab\r\n", b"0\r\n\r\n"))])
def test_a_body_that_llhttp_ends_elsewhere(length: int, pieces: tuple[bytes, bytes]) -> None:
    for ends_at in (2, 3, 4):
        one = framing(ends_at)
        one.open(length)
        if ends_at == 2:
            with pytest.raises(FramingError):
                one.take(pieces[0], 0)
            continue
        one.take(pieces[0], 0)
        if ends_at == 4:
            with pytest.raises(FramingError):
                one.take(pieces[1], 0)
        else:
            one.take(pieces[1], 0)
            assert one.done


def test_a_body_ended_by_close_has_no_end_of_its_own() -> None:
    one = framing(0)
    one.open(UNTIL_CLOSE)
    assert one.take(b"abc", 0) == 3
    assert not one.done
