"""Headers that the file leaves out of requests or sets on them: on copies (`mirror.headers`) and to one upstream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from proxy.config.types import Header, HeaderValue, Section
from proxy.http import credentials
from proxy.units import Unfit

_FRAMING = frozenset(
    {"content-length", "transfer-encoding", "connection", "host", "expect", "upgrade", "te", "trailer"}
)
_Named = TypeVar("_Named", bound=Iterable[str])


def _keeps_the_framing(names: _Named) -> _Named:
    for name in names:
        if name in _FRAMING:
            raise Unfit("a header other than those of framing and routing", f"`{name}` is the proxy's to set")
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
