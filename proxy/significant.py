"""Numbers as people read them."""

from __future__ import annotations


def significant(value: float, digits: int) -> str:
    """A number for people to so many significant digits, and never with an exponent where it is large.

    >>> significant(0.01234, 3), significant(99.7, 2), significant(1234.5, 3)
    ('0.0123', '100', '1230')
    """
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text
