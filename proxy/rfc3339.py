"""Times as text (RFC 3339): in the API, in events, in log lines and in the journal."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(time: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the millisecond.

    >>> rfc3339(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
