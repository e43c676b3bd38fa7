"""A language model made on the spot: which word follows which in a text, the most frequent one first.

Small, but a real model: it is trained, its answers follow from the question word by word, and the candidate, which was
trained on nine tenths of the text, differs on some of them. It needs the standard library only.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

TEXT = Path(__file__).parents[2] / "LICENSE"
LENGTH = 8
NAMES = {"live": "words-1", "candidate": "words-2"}
"""What each arm calls its model; it knows no other."""


class Words:
    """The model of one arm."""

    def __init__(self, arm: str) -> None:
        words = re.findall(r"[a-z]+", TEXT.read_text("utf-8").lower())
        words = words if arm == "live" else words[: len(words) * 9 // 10]
        after: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word, following in pairwise(words):
            after[word][following] += 1
        self._next = {word: min(found, key=lambda w: (-found[w], w)) for word, found in after.items()}

    def says(self, question: str) -> list[str]:
        """At most `LENGTH` words that go on from the question's last one."""
        word, said = question.lower().split()[-1], list[str]()
        while len(said) < LENGTH and word in self._next:
            word = self._next[word]
            said.append(word)
        return said or ["nothing"]


def questions(most: int = 40) -> list[str]:
    """Questions that live can answer, the same every time."""
    words = re.findall(r"[a-z]{4,}", TEXT.read_text("utf-8").lower())
    return [f"what follows {word}" for word in dict.fromkeys(words)][:most]
