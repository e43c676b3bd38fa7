"""`price:` of a model server: what its answers cost, as its provider or the owner of its machines says it."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from proxy.config.types import Count, Money, Section, one_of
from proxy.model.price import Price

PER = {"1M tokens": 1e6, "1k tokens": 1e3}
HOUR = 3600.0


class PriceConfig(Section):
    """What an answer costs: `{input: 0.15, output: 0.60}` for a million tokens, or `{hour: 3.20, concurrency: 8}` for
    an hour of a machine that works on so many requests at once. All prices of a file are in one currency."""

    model_config = ConfigDict(json_schema_extra=one_of("input", "hour"))

    input: Money | None = None
    """Tokens that go in."""
    output: Money | None = None
    """Tokens that come out; nothing when absent (embeddings)."""
    cached_input: Money | None = None
    """Tokens that go in and are read from the provider's cache; as `input` when absent."""
    cache_write: Money | None = None
    """Tokens that go in and are written to that cache; as `input` when absent."""
    per: Literal["1M tokens", "1k tokens"] = "1M tokens"
    """How many tokens the prices are for."""
    hour: Money | None = None
    """Instead: an hour of the machine. An answer costs the time that it took."""
    concurrency: Count = 1
    """How many requests the machine works on at once (slots, sequences of a batch), among which `hour` is divided."""

    @property
    def price(self) -> Price:
        """As the core knows it: money per token, or per second.

        >>> PriceConfig(input=0.5, output=2).price
        Price(input=5e-07, output=2e-06, cached=5e-07, written=5e-07, second=0.0)
        >>> PriceConfig(hour=7.2, concurrency=2).price.second
        0.001
        """
        if self.hour is not None:
            return Price(second=self.hour / HOUR / self.concurrency)
        into, tokens = self.input or 0.0, PER[self.per]
        cached = into if self.cached_input is None else self.cached_input
        written = into if self.cache_write is None else self.cache_write
        return Price(into / tokens, (self.output or 0.0) / tokens, cached / tokens, written / tokens)
