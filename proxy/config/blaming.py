"""How mistakes are noted: with the path that the owner would correct, and its line."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.config.text import Document, Path


@dataclass(frozen=True, slots=True)
class Blamer:
    """Notes mistakes, but none about what was broken before."""

    document: Document
    broken: set[Path]

    def __call__(self, path: Path, problem: str, hint: str = "") -> None:
        if not any(path[: len(other)] == other for other in self.broken):
            self.document.blame(path, problem, hint)

    def is_broken(self, path: Path) -> bool:
        """Whether something at or below `path` is already blamed."""
        return any(other[: len(path)] == path for other in self.broken)
