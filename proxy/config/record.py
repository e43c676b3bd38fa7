"""`record:` of a rollout: a file of its pairs."""

from __future__ import annotations

from proxy.config.types import Count, FilePath, Proportion, Redacted, Section, Size


class Record(Section):
    """A sampled, bounded, rotating file of pairs, for `judge` and `replay`."""

    path: FilePath
    """The file, JSON Lines; `.gz` or `.zst` at the end compresses it."""
    share: Proportion = 0.01
    """Share of pairs kept."""
    max_size: Size = 256 << 20
    """Size of one file."""
    files: Count = 4
    """Files kept."""
    redact: tuple[Redacted, ...] = ()
    """What is masked, in the console too: fields of bodies by JSON pointer, query parameters as `?name` (`?*`: all)."""
