"""The rubric of a judge that was given none: what makes one answer better than another."""

from __future__ import annotations

from typing import Final

DEFAULT_RUBRIC: Final = """\
Judge which answer helps the person who wrote the request more.

1. Correctness comes first: a wrong fact, wrong code, a wrong figure or an invented source outweighs everything below.
2. Then whether the answer does what was asked, all of it and nothing else, in the language, the format and the length
   that the request asks for. A needless refusal does not do what was asked; a refusal of what would do harm does.
3. Then clarity: easy to follow, well ordered, no padding.

Length is no merit of its own: of two answers that help equally, neither is better for being longer or shorter. Do not
reward confidence, politeness or formatting for themselves. If neither helps more, say `tie`.
"""
