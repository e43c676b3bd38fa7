"""Fixtures of several files."""

from tests.evidence.gathered import stream

__all__ = ["stream"]
