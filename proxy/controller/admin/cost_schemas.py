"""What the API says of costs: of answers, of what a verdict still takes, and of budgets for copies."""

from __future__ import annotations

from proxy.controller.admin.schema_words import NUMBER, TEXT, WHOLE, object_of

FORECAST = object_of({"pairs": WHOLE, "seconds": {"type": "number"}, "cost": NUMBER, "judging": NUMBER, "text": TEXT})
BUDGET = object_of({"limit": WHOLE, "last_minute": WHOLE, "total": WHOLE, "share": {"type": "number"}})
MONEY = object_of(
    {
        "limit": TEXT,
        "amount": {"type": "number"},
        "period_seconds": {"type": "number"},
        "in_period": {"type": "number"},
        "total": {"type": "number"},
        "share": {"type": "number"},
    }
)
ARM_COST = object_of({"total": {"type": "number"}, "mean": NUMBER})
COST = object_of(
    {
        "currency": TEXT,
        "pairs": WHOLE,
        "live": ARM_COST,
        "candidate": ARM_COST,
        "ratio": NUMBER,
        "copies": {"type": "number"},
        "counted": WHOLE,
    }
)
IDLE = object_of({"limit": WHOLE, "share": {"type": "number"}, "reason": TEXT})
PACE = object_of({"limit": {"type": ["integer", "string"]}, "share": {"type": "number"}})
