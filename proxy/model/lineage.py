"""Where a version comes from, as a model registry says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION: Final = "{version}"
"""What stands in an upstream's settings for the version that a model registry names."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version of a registered model. `run` is the id of the run that trained it, `data` the version of the data, each
    empty where the registry does not say it; `url` the version's page in the registry, for people."""

    registry: str
    model: str
    version: str
    run: str = ""
    data: str = ""
    url: str = ""
