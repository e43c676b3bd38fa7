"""Headers that the file leaves out of requests or sets on them: on copies (`mirror.headers`) and to one upstream."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from proxy.config.types import Header, HeaderValue, Section
from proxy.http import credentials
from proxy.units import Unfit

_FRAMING = frozenset(
    {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade", "te", "trailer"}
)
_SOUNDS_SECRET = re.compile("key|token|secret|auth|passw|credential|signature")
SHORTEST = 6
"""Characters of the shortest value that is taken for a secret: shorter ones stand in answers by chance."""
_Named = TypeVar("_Named", bound=Iterable[str])


def _keeps_the_framing(names: _Named) -> _Named:
    for name in names:
        if name in _FRAMING:
            raise Unfit("a header other than those of framing and routing", f"`{name}` is set by the proxy")
    return names


Dropped = Annotated[tuple[Header, ...], AfterValidator(_keeps_the_framing)]
Added = Annotated[dict[Header, HeaderValue], AfterValidator(_keeps_the_framing)]


def written_out(names: Iterable[str]) -> frozenset[str]:
    """Names of headers, with all that carry credentials for the word `credentials`.

    >>> "x-api-key" in written_out(["credentials"]), written_out(["x-a"])
    (True, frozenset({'x-a'}))
    """
    found = frozenset(names)
    return found - {credentials.WORD} | credentials.HEADERS if credentials.WORD in found else found


def keys(headers: Mapping[str, str]) -> Iterator[bytes]:
    """The secrets among the values of headers that are set: of those that carry credentials, by the list or by their
    name, the value, what follows a scheme such as `Bearer`, and what `Basic` has in base64, with its password alone.
    Shorter than `SHORTEST` is none.

    >>> list(keys({"authorization": "Bearer sk-123456", "x-own-secret": "abcdefgh", "x-model": "llama-4-8b"}))
    [b'Bearer sk-123456', b'sk-123456', b'abcdefgh']
    """
    for name, value in headers.items():
        if name in credentials.HEADERS or _SOUNDS_SECRET.search(name):
            for text in dict.fromkeys((value, value.partition(" ")[2], *_basic(value))):
                if len(text) >= SHORTEST:
                    yield text.encode("latin-1", "replace")


def _basic(value: str) -> tuple[str, ...]:
    """User and password, and the password, of HTTP's Basic scheme (RFC 7617).

    >>> _basic("Basic dXNlcjpvcGVuIHNlc2FtZQ==")
    ('user:open sesame', 'open sesame')
    """
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        both = base64.b64decode(rest.strip(), validate=True).decode()
    except ValueError:
        return ()
    return both, both.partition(":")[2]


class HeaderRules(Section):
    """What a copy's head may carry."""

    drop: Dropped = (credentials.WORD,)
    """Headers left out of a copy; a list given here replaces the default, the word `credentials` in it stands for all
    that [carry them](operations.md#credentials). `[]` lets a copy carry everything."""
    set: Added = Field(default_factory=dict, repr=False)
    """Headers added to a copy; not those of framing and routing, which are the proxy's."""

    @property
    def dropped(self) -> frozenset[str]:
        """The names in `drop`."""
        return written_out(self.drop)


class UpstreamHeaders(Section):
    """What the head of every request to an upstream may carry: served, copied, hedged, written to both, replayed, and
    health checks."""

    drop: Dropped = ()
    """Headers left out; the word `credentials` stands for all that [carry them](operations.md#credentials)."""
    set: Added = Field(default_factory=dict, repr=False)
    """Headers set in place of the client's own: the upstream's key, say. Their values are kept out of pairs."""

    @property
    def dropped(self) -> frozenset[str]:
        """The names in `drop`."""
        return written_out(self.drop)
