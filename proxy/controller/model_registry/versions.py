"""Which version of an upstream holds: what the registry said last, or what the file says. Pure.

    a word of the registry ──decide──▶ newer: a trial begins · the same · older, or of something else: nothing

Invariants
- Whoever spoke last holds. A `version:` that is changed in the file replaces the registry's; the next word of the
  registry replaces that. Taking `version:` out of the file says nothing.
- An older word never replaces a newer one, in whichever order they come.
- The same word twice is the same as once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from proxy.model.lineage import Lineage


@dataclass(frozen=True, slots=True)
class VersionWord:
    """What a registry says of an upstream: this version is to be tried. `at` is when it says so (epoch seconds),
    `asked` that it is the registry's answer, of what holds now. `news` says that something has happened: the answer to
    a routine question says the same again and again."""

    lineage: Lineage
    at: float
    asked: bool = False
    news: bool = True


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """What is known of an upstream's version. `lineage` is `None` where the file's holds: none was named yet, or the
    file was changed since; `seen` is the last version that the registry named, `at` when, `file` what the file said."""

    lineage: Lineage | None = None
    seen: str = ""
    at: float = 0.0
    file: str = ""


def decide(known: KnownVersion | None, word: VersionWord, file: str, standing: bool) -> tuple[KnownVersion | None, str]:
    """What is known after a word, and what that was: `begun`, `unchanged`, or why nothing comes of it. `file` is the
    `version:` in the file. `standing` says that a word holds until the next one (an alias points to a version); else it
    tells of a version that is there, and the one with the largest number holds.

    >>> word = VersionWord(Lineage("mlflow", "fraud", "3"), 10.0)
    >>> known, what = decide(None, word, "", standing=False)
    >>> what, decide(known, word, "", standing=False)[1]
    ('begun', 'unchanged')
    >>> decide(known, replace(word, lineage=Lineage("mlflow", "fraud", "2"), at=11.0), "", standing=False)[1]
    'older: version 3 was named before'
    """
    version = word.lineage.version
    if known is None and not word.news and not standing:
        return KnownVersion(None, version, 0.0, file), "noted: it was there before"
    known = known or KnownVersion(file=file)
    if known.lineage is not None and known.lineage.version == version:
        richer = _richer(known.lineage, word.lineage)
        return replace(known, lineage=richer, at=max(known.at, word.at)), "unchanged"
    if known.seen == version and not (word.news and standing):
        return known, "unchanged"
    if not standing and known.seen and not _later(version, known.seen):
        return known, f"older: version {known.seen} was named before"
    if not word.asked and word.at < known.at:
        return known, f"older: version {known.seen} was named later"
    return KnownVersion(word.lineage, version, max(known.at, word.at), file), "begun"


def _later(version: str, seen: str) -> bool:
    """Whether a version comes after another: by number where both are, else whenever it is another."""
    if version.isascii() and version.isdigit() and seen.isascii() and seen.isdigit():
        return int(version) > int(seen)
    return version != seen


def _richer(known: Lineage, said: Lineage) -> Lineage:
    """What two words on one version say together: a word that came while the registry was away says less."""
    return replace(known, run=said.run or known.run, data=said.data or known.data, url=said.url or known.url)


def in_force(known: KnownVersion | None, file: str) -> tuple[KnownVersion | None, str | Lineage]:
    """What is known now that the file says `file`, and the version that holds; empty where there is none yet.

    >>> known = KnownVersion(Lineage("mlflow", "fraud", "3"), "3", 1.0, "1")
    >>> in_force(known, "1")[1].version, in_force(known, "")[1].version, in_force(known, "4")[1]
    ('3', '3', '4')
    """
    if known is None or known.lineage is None:
        return known, file
    if file and file != known.file:
        return replace(known, lineage=None, file=file), file
    return known, known.lineage


def dump_versions(known: Mapping[str, KnownVersion], deliveries: Mapping[str, float]) -> dict[str, Any]:
    """As JSON values, for the store."""
    return {"versions": {name: asdict(one) for name, one in known.items()}, "deliveries": dict(deliveries)}


def load_versions(value: Mapping[str, Any]) -> tuple[dict[str, KnownVersion], dict[str, float]]:
    """The inverse of `dump_versions`; raises `TypeError`, `ValueError` or `KeyError` for anything else.

    >>> known = {"m": KnownVersion(Lineage("mlflow", "fraud", "3"), "3", 1.0, "1"), "n": KnownVersion()}
    >>> load_versions(dump_versions(known, {"d": 1.0})) == (known, {"d": 1.0})
    True
    """
    found = {}
    for name, one in dict(value.get("versions", {})).items():
        lineage = one["lineage"]
        found[name] = KnownVersion(**{**one, "lineage": None if lineage is None else Lineage(**lineage)})
    return found, {str(name): float(at) for name, at in dict(value.get("deliveries", {})).items()}
