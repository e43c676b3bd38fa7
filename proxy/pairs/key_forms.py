"""Which keys are looked for in answers, and how else than as it is a key may be written."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Final

MOST_EARLIER: Final = 64
"""Keys of earlier configurations that are looked for still, the latest first."""
_ALPHABETS: Final = (bytes.maketrans(b"", b""), bytes.maketrans(b"+/", b"-_"))
"""Of RFC 4648, 4 and 5."""


def known_keys(keys: Iterable[bytes], before: Iterable[bytes]) -> tuple[tuple[bytes, ...], int]:
    """All keys of a configuration, then those of earlier ones, which a model may repeat still; and how many of these
    are given up, beyond `MOST_EARLIER`.

    >>> known_keys([b"new"], [b"old", b"new"])
    ((b'new', b'old'), 0)
    """
    current = dict.fromkeys(keys)
    earlier = [key for key in dict.fromkeys(before) if key not in current]
    return (*current, *earlier[:MOST_EARLIER]), max(0, len(earlier) - MOST_EARLIER)


def base64_forms(key: bytes) -> Iterator[bytes]:
    r"""What stands in any base64 of any text that holds the key: one form for each place that its first byte may have
    in a group of three, without the characters that the bytes beside it have a part in.

    >>> sorted(set(base64_forms(b"sk-0123")))
    [b'NrLTAxMj', b'c2stMDEyM', b'zay0wMTIz']
    """
    for before in range(3):
        first = -(-8 * before // 6)
        form = b64encode(bytes(before) + key)[first : 8 * (before + len(key)) // 6]
        for alphabet in _ALPHABETS:
            yield form.translate(alphabet)
