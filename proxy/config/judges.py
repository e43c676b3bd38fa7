"""Models that judge pairs of answers: the section `judges:` of the tree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path as File
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr

from proxy.config.headers import SHORTEST, Added
from proxy.config.headers import keys as secrets_of
from proxy.config.price import PriceConfig
from proxy.config.types import (
    Budget,
    Count,
    Duration,
    FilePath,
    PointerText,
    Proportion,
    Proxy,
    Section,
    ServerUrl,
)
from proxy.judges.anchor_lines import AnchorError, AnchorPair, read_anchors
from proxy.judges.anchors import Anchor, longer_of
from proxy.judges.rubric import DEFAULT_RUBRIC

MOST_RUBRIC = 32_000
"""Characters of a rubric: it is paid for with each question."""


class JudgeConfig(Section):
    """A model that says which of two answers is better, asked over OpenAI chat completions."""

    url: ServerUrl
    """Where it is, as OpenAI's clients take it (`https://api.openai.com/v1`): `/chat/completions` is added, and `/v1`
    before it where the URL has no path."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Its name there. It may be neither of the models that it judges."""
    headers: Added = Field(default_factory=dict, repr=False)
    """Sent with each question: the key. Its value is never shown."""
    rubric: FilePath | None = None
    """File with what makes an answer better, in words (Markdown); correctness, then doing what was asked, then clarity
    when absent."""
    set_json: dict[PointerText, Any] = Field(default_factory=dict)
    """Further fields of each question's JSON, by JSON pointer (`{/temperature: 0, /reasoning_effort: low}`)."""
    share: Proportion = 0.1
    """Share of the pairs that are judged, drawn by a keyed hash of the request's id."""
    max_cost: Budget | None = None
    """What it may cost in a period that begins at a full hour or day (UTC); pairs beyond it are not judged. Needs
    `price`. Unbounded when absent."""
    price: PriceConfig | None = None
    """What its tokens cost."""
    anchors: FilePath | None = None
    """File of pairs whose verdict is known, [a JSON object a line](judges.md#anchors), which are asked at the start and
    then repeatedly. A judge whose answers to them change has changed, and its guards give no more evidence. When
    absent, a changed judge is not detected."""
    timeout: Duration = 30.0
    """How long one verdict may take, repeated attempts included; then the pair is not judged."""
    concurrency: Annotated[int, Field(strict=True, ge=1, le=256)] = 4
    """Questions under way at once."""
    max_waiting: Count = 1000
    """Pairs that wait for their turn; one more is not judged (`queue_full`)."""
    proxy: Proxy = Field(default="environment", repr=False)
    """HTTP proxy to reach it through, as for a [webhook](#webhooks): a URL, `off`, or `environment`."""
    _rubric: str = PrivateAttr(DEFAULT_RUBRIC)
    _anchors: tuple[AnchorPair, ...] = PrivateAttr(())
    _problems: dict[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _context: Any, /) -> None:
        """Read the files now: what judges is what was checked."""
        if self.rubric is not None:
            self._rubric = self._file("rubric", self.rubric)
            if not self._rubric.strip() and "rubric" not in self._problems:
                self._problems["rubric"] = "is empty"
            if len(self._rubric) > MOST_RUBRIC:
                self._problems["rubric"] = f"has {len(self._rubric):,} characters; up to {MOST_RUBRIC:,} are sent"
        if self.anchors is not None:
            text = self._file("anchors", self.anchors)
            try:
                self._anchors = read_anchors(text) if "anchors" not in self._problems else ()
            except AnchorError as error:
                self._problems["anchors"] = str(error)

    def _file(self, key: str, path: str) -> str:
        try:
            return File(path).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            self._problems[key] = f"cannot be read: {getattr(error, 'strerror', '') or error}"
            return ""

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with its files, by their keys."""
        return self._problems

    @property
    def rubric_text(self) -> str:
        """The rubric."""
        return self._rubric

    @property
    def anchor_pairs(self) -> tuple[AnchorPair, ...]:
        """The anchors; none without a file."""
        return self._anchors

    @property
    def anchors_known(self) -> list[Anchor]:
        """What is known of each anchor."""
        return [Anchor(one.verdict, longer_of(one.first, one.second)) for one in self._anchors]

    @property
    def anchors_hash(self) -> str:
        """What tells these anchors from others."""
        return hashlib.blake2b(repr(self._anchors).encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def endpoint(self) -> str:
        """The URL that questions are posted to.

        >>> JudgeConfig(url="https://judge.internal", model="m").endpoint
        'https://judge.internal/v1/chat/completions'
        >>> JudgeConfig(url="https://gateway.example/team-a/v1", model="m").endpoint
        'https://gateway.example/team-a/v1/chat/completions'
        """
        parts = urlsplit(self.url)
        path = parts.path or "/v1"
        return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/chat/completions')}/chat/completions"

    @property
    def identity(self) -> str:
        """A hash of what decides its verdicts: the model, what it is asked beside, the rubric. Another one is another
        judge, whose verdicts cannot be counted with this one's."""
        words = (self.model, self.rubric_text, *map(repr, self.set_json.items()))
        return hashlib.blake2b("\0".join(words).encode(), digest_size=8).hexdigest()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, the longest first."""
        found = {secret.decode("latin-1") for secret in secrets_of(self.headers)} | set(self.headers.values())
        found = {secret for secret in found if len(secret) >= SHORTEST}
        return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))
