"""Key → bucket → which arm serves, and who is sampled for a pair.

A bucket is a number in [0, 10,000) drawn by hash from a salt and a key. A candidate with weight w answers the keys in
buckets [0, w): raising 5 % to 25 % keeps the first 5 % where they were (the ranges are *nested*), and the same key gets
the same arm in every worker and after every restart. Sampling uses a salt of its own, so that who is sampled says
nothing about who serves.

Salts are made with a secret of the store (`Table.secret`): a caller chooses its sticky key, and must not be able to
compute which keys the candidate answers. Without a sticky key the key is an id of our own, never one that came with the
request: a caller that repeats its id would be wholly on one arm, and wholly in the sample or out of it.

BLAKE2b is used as the keyed hash: `hash()` differs between processes, and CRC-32 under two salts differs by a constant
only, which would tie the two choices together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Generic, TypeVar

from proxy.model import BUCKETS

T = TypeVar("T")
Fields = tuple[tuple[tuple[str, ...], object], ...]
"""JSON pointers as tokens, and the value that stands there."""


def salt(*names: str, secret: bytes = b"") -> bytes:
    """A salt (16 bytes) from names such as route, candidate, version and purpose, and a secret of at most 64 bytes.

    >>> salt("credit", "v2", "serve") == salt("credit", "v2", "sample"), len(salt("a"))
    (False, 16)
    >>> salt("credit", secret=b"one") == salt("credit", secret=b"two")
    False
    """
    return blake2b("\0".join(names).encode(), digest_size=16, key=secret).digest()


def number_of_key(with_salt: bytes, key: bytes) -> int:
    """The key's number, 64 bits.

    >>> number_of_key(salt("credit", "v2"), b"user-1") == number_of_key(salt("credit", "v2"), b"user-1")
    True
    """
    return int.from_bytes(blake2b(key, digest_size=8, key=with_salt).digest(), "little")


def bucket(with_salt: bytes, key: bytes) -> int:
    """The key's bucket, 0 to 9,999.

    >>> bucket(salt("credit", "v2"), b"user-1") == bucket(salt("credit", "v2"), b"user-1")
    True
    """
    return int.from_bytes(blake2b(key, digest_size=8, key=with_salt).digest(), "little") % BUCKETS


def chosen(with_salt: bytes, key: bytes, share: int) -> bool:
    """Whether the key falls into the first `share` basis points; costs no hash at 0 and at 100 %.

    >>> chosen(b"", b"any", 0), chosen(b"", b"any", 10_000)
    (False, True)
    """
    if share >= BUCKETS:
        return True
    return share > 0 and bucket(with_salt, key) < share


@dataclass(frozen=True, slots=True)
class MatchRule:
    """When a route applies. `path` is exact, or a prefix when it ends in `*`; empty means any.

    `methods` in upper case, empty means any; `headers` by lower-case name, values compared exactly.
    """

    path: bytes = b""
    methods: frozenset[bytes] = frozenset()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    json: Fields = ()
    """Values of fields of the body, which is not here yet."""
    default: bool = False
    """It also takes what no other rule's `json` does."""

    def allows(self, path: bytes, method: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request belongs to this route, as far as its head says.

        >>> MatchRule(b"/v2/*", frozenset({b"POST"})).allows(b"/v2/models/a/infer", b"POST", {})
        True
        >>> MatchRule(b"/v2/models", headers=((b"x-tenant", b"a"),)).allows(b"/v2/models", b"GET", {b"x-tenant": b"b"})
        False
        """
        if self.path and self.path != path and not (self.path.endswith(b"*") and path.startswith(self.path[:-1])):
            return False
        if self.methods and method not in self.methods:
            return False
        return not self.headers or all(headers.get(name) == value for name, value in self.headers)


FEW: Final = 8
"""Rules with a prefix up to which trying each costs less than finding those that fit."""


class Router(Generic[T]):
    """Finds the first rule, in the file's order, that allows a request.

    A path costs one look-up among the exact ones. One that is none of them is held against each prefix while these are
    `FEW`, else it costs one look-up for each length that a prefix has, however many there are.
    """

    __slots__ = ("_exact", "_few", "_lengths", "_prefixed", "_rules")

    def __init__(self, rules: Sequence[tuple[MatchRule, T]]) -> None:
        exact: dict[bytes, list[int]] = {}
        prefixed: dict[bytes, list[int]] = {}
        for n, (rule, _) in enumerate(rules):
            if not rule.path or rule.path.endswith(b"*"):
                prefixed.setdefault(rule.path[:-1], []).append(n)
            else:
                exact.setdefault(rule.path, []).append(n)
        self._rules, self._prefixed = tuple(rules), prefixed
        self._lengths = tuple(sorted({len(prefix) for prefix in prefixed}))
        self._exact = {path: self._ordered([*own, *self._begun(path)]) for path, own in exact.items()}
        every = [n for numbers in prefixed.values() for n in numbers]
        self._few = self._ordered(every) if len(every) <= FEW else None

    def _begun(self, path: bytes) -> list[int]:
        """Which rules have a prefix that the path begins with."""
        found: list[int] = []
        for length in self._lengths:
            if length > len(path):
                break
            found += self._prefixed.get(path[:length], ())
        return found

    def _ordered(self, numbers: list[int]) -> tuple[tuple[MatchRule, T], ...]:
        return tuple([self._rules[n] for n in sorted(numbers)])

    def is_exact(self, path: bytes) -> bool:
        """Whether a rule is for this path and no other.

        >>> Router([(MatchRule(b"/a"), 1), (MatchRule(b"/b*"), 2)]).is_exact(b"/b")
        False
        """
        return path in self._exact

    def find(self, path: bytes, method: bytes, headers: Mapping[bytes, bytes]) -> T | None:
        """What belongs to the first rule that applies, else `None`.

        >>> Router([(MatchRule(b"/a"), 1), (MatchRule(), 2)]).find(b"/a", b"GET", {})
        1
        """
        found = self.choices(path, method, headers)
        return found[0][1] if found else None

    def choices(self, path: bytes, method: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[MatchRule, T]]:
        """The rules that apply as far as the head says, up to the first that asks nothing of the body."""
        found = []
        rules = self._exact.get(path, self._few)
        for rule, target in rules if rules is not None else self._ordered(self._begun(path)):
            if rule.allows(path, method, headers):
                found.append((rule, target))
                if not rule.json:
                    break
        return found
