"""`similarity:` of a prediction: the similarity of two answers by the embeddings of a model of the owner's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from proxy.config.judges import JudgeConfig
from proxy.config.types import Count, Duration, Name, Section
from proxy.model import EMBEDDER

if TYPE_CHECKING:
    from proxy.config.server import UpstreamConfig


class SimilarityConfig(Section):
    """How similar two texts are: the cosine of their embeddings, made by a model over OpenAI's `/v1/embeddings`."""

    upstream: Name
    """Name of the upstream that makes embeddings. Its `url` is asked, with what its `headers` set; no route needs to
    lead to it, and keys that such a request does not follow (`set_json`, say) are mistakes."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Its name there."""
    timeout: Duration = 10.0
    """How long a request may take, attempts included; then the pairs of its texts say nothing."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    """Requests under way at once, each with up to 64 texts."""
    max_waiting: Count = 1000
    """Pairs that wait for their turn; one more says nothing (`queue_full`)."""

    @property
    def asker(self) -> str:
        """The name under which it is asked."""
        return f"{EMBEDDER}{self.upstream}/{self.model}"


class EmbedderConfig(JudgeConfig):
    """A model that makes embeddings, as what asks it is given it."""

    at_once: int = 4

    @classmethod
    def of(cls, rule: SimilarityConfig, upstream: UpstreamConfig) -> EmbedderConfig:
        """The model that a `similarity` names."""
        given: dict[str, Any] = {"headers": dict(upstream.headers.set), "price": upstream.price, "proxy": "off"}
        given |= {"timeout": rule.timeout, "max_waiting": rule.max_waiting, "share": 1.0}
        given["concurrency"] = min(128, 32 * rule.concurrency)  # pairs: as many texts as there is room for under way
        return cls.model_construct(url=upstream.urls[0], model=rule.model, at_once=rule.concurrency, **given)

    @property
    def endpoint(self) -> str:
        """The URL that texts are posted to."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{(parts.path or '/v1').removesuffix('/embeddings')}/embeddings"

    @property
    def identity(self) -> str:
        """A hash of what decides its vectors."""
        return hashlib.blake2b(f"embeddings\0{self.model}".encode(), digest_size=8).hexdigest()
