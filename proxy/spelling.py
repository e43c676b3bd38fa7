"""Which known word a misspelt one was most likely meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the known word most like `word`, or nothing.

    Words of a family (`max_…`) must be alike in what tells them apart: `max_cost` is no misspelt `max_ks`.

    >>> nearest("max_disagrement", ["max_disagreement", "max_ks"])
    'did you mean `max_disagreement`?'
    >>> nearest("zzz", ["max_ks"]), nearest("max_cost", ["max_ks"])
    ('', '')
    """
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, 3, 0.6)
    found = next((one for one in close if _alike(word.lower(), one)), None)
    return f"did you mean `{folded[found]}`?" if found is not None else ""


def _alike(word: str, known: str) -> bool:
    """Whether two words are alike beyond the first part that they share."""
    family, mark, rest = known.partition("_")
    if not mark or not word.startswith(family + mark):
        return True
    return difflib.SequenceMatcher(None, word.removeprefix(family + mark), rest).ratio() >= 0.5
