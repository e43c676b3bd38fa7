"""Schemas of what users do later, and of what is posted of them."""

from __future__ import annotations

from proxy.controller.admin.schema_words import NUMBER, TEXT, WHOLE, Schema, nullable, object_of
from proxy.outcome_units import OUTCOME_NAME

_ARM = object_of(
    {
        **dict.fromkeys(("exposed", "counted", "with_value", "waiting", "switched", "outcomes", "late"), WHOLE),
        "mean": NUMBER,
    }
)
USERS = object_of(
    {
        "outcome": TEXT,
        "within_seconds": {"type": "number"},
        "bound": NUMBER,
        "learning": WHOLE,
        "live": _ARM,
        "candidate": _ARM,
        **dict.fromkeys(("unknown", "unfit", "left_out", "lost"), WHOLE),
        "share": {"type": "number"},
    }
)
"""Of a rollout whose guard counts users: what became of those of each arm, and of what was posted."""

SAMPLE_RATIO = object_of(
    {
        "candidate_pairs": WHOLE,
        "pairs": WHOLE,
        "of": {"enum": ["pairs", "users"]},
        "expected": {"type": "number"},
        "log_bayes_factor": {"type": "number"},
    }
)
_NAMED: dict[str, Schema] = {"name": {"type": "string", "pattern": OUTCOME_NAME}, "value": {"type": "number"}}
_WHOSE: Schema = {"type": "string", "minLength": 1, "maxLength": 1024}
OF_USERS = [object_of({whose: _WHOSE, **_NAMED}, additionalProperties=False) for whose in ("key", "id")]
"""What a user, by the sticky key, or a request without one, by its id, has done."""

_RESULTS = ("joined", "unknown", "early", "late", "left_out", "unfit")
POSTED = object_of(dict.fromkeys(_RESULTS, WHOLE), required=("joined", "unknown"))
"""How many became what."""
USERS_OR_NONE = nullable(USERS) | {"description": "Where a guard counts users: of each arm, what became of them."}
