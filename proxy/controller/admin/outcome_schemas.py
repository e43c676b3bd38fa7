"""Schemas of what users do later, and of what is posted of them."""

from __future__ import annotations

from proxy.controller.admin.schema_words import NUMBER, TEXT, WHOLE, Schema, list_of, nullable, object_of
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

LINES: Schema = {
    "application/x-ndjson": {
        "schema": {"type": "string", "description": "One of them a line; a line that is wrong is told and left out."}
    }
}
"""The body of one outcome a line, as a media type."""

_RESULTS = ("joined", "unknown", "early", "late", "left_out", "unfit", "ended", "unasked")
_REFUSED = object_of({"line": WHOLE, "problem": TEXT})
POSTED = object_of(
    {
        **dict.fromkeys(_RESULTS, WHOLE),
        "lines": WHOLE | {"description": "Lines read, where the body had one outcome a line."},
        "refused": WHOLE | {"description": "Lines that are no outcome; the others were taken."},
        "problems": list_of(_REFUSED) | {"description": "What is wrong with the first 100 of them, by number from 1."},
    },
    required=("joined", "unknown"),
)
"""How many became what."""
USERS_OR_NONE = nullable(USERS) | {"description": "Where a guard counts users: of each arm, what became of them."}
