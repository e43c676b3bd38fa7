"""What is kept of the pairs that a judge was drawn for, one prediction of a trial: which are repeats, and how many
there were."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from proxy.evidence.input.clusters import Clusters
from proxy.evidence.input.dedup import RecentBodies


@dataclass(slots=True)
class JudgedPairs:
    """`judged` verdicts came, of which `without_floor` do not count for want of a verdict on live's second answer;
    `unjudged` pairs were drawn and have none. `recent` and `clusters` are those of the pairs that were judged: a repeat
    is one among 1,000 of them."""

    recent: RecentBodies = field(default_factory=RecentBodies)
    clusters: Clusters = field(default_factory=Clusters)
    judged: int = 0
    unjudged: int = 0
    without_floor: int = 0

    @property
    def figures(self) -> list[int]:
        """The three figures."""
        return [self.judged, self.unjudged, self.without_floor]

    def merge(self, other: JudgedPairs) -> JudgedPairs:
        """What both know; merging in either order gives the same."""
        figures = (a + b for a, b in zip(self.figures, other.figures, strict=True))
        return JudgedPairs(self.recent.merge(other.recent), self.clusters.merge(other.clusters), *figures)

    def copy(self) -> JudgedPairs:
        """A copy that shares no mutable part."""
        return replace(self, recent=RecentBodies(self.recent.entries), clusters=Clusters(*self.clusters.entries))
