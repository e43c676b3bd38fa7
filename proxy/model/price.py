"""What an answer costs: prices of tokens as providers publish them, or of the time that an answer keeps a machine busy.

Amounts are in the currency of the prices; nothing is converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class TokenUsage(NamedTuple):
    """Tokens of one request. `input` are those that went in and were neither read from a cache (`cached`) nor written
    to one (`written`); `output` those that came out. `counted` says that nobody gave them: they were estimated."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    counted: bool = False

    @property
    def total(self) -> int:
        """All tokens, in and out."""
        return self.input + self.output + self.cached + self.written


@dataclass(frozen=True, slots=True)
class Price:
    """Money for each token of a kind, or for each `second` that an answer takes; an upstream has one or the other."""

    input: float = 0.0
    output: float = 0.0
    cached: float = 0.0
    written: float = 0.0
    second: float = 0.0

    @property
    def by_tokens(self) -> bool:
        """Whether tokens are what is paid for."""
        return self.second == 0.0

    def of(self, usage: TokenUsage, seconds: float) -> float:
        """What a request costs that used these tokens and took so long.

        >>> Price(input=2e-6, output=8e-6, cached=1e-6, written=2e-6).of(TokenUsage(1000, 500, 2000), 3.0)
        0.008
        >>> Price(second=0.001).of(TokenUsage(1000, 500), 3.0)
        0.003
        """
        if not self.by_tokens:
            return self.second * seconds
        spent = usage.input * self.input + usage.output * self.output
        return spent + usage.cached * self.cached + usage.written * self.written
