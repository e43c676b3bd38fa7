"""Parts of a rollout as the API shows it, for tests of what is made of them."""

from __future__ import annotations

_ARM = dict.fromkeys(("exposed", "counted", "with_value", "waiting", "switched", "outcomes", "late"), 3)
USERS = {
    "live": _ARM | {"mean": 0.5}, "candidate": _ARM | {"mean": None, "late": 9},
    "unknown": 1, "unfit": 2, "left_out": 3, "lost": 4,
}  # fmt: skip


ALIKE = {
    "aspect": "alike", "judge": "similarity:e/m", "compared": 5, "not_judged": {}, "cost": {"total": 0.0},
    "cache_hits": 2, "down": False,
}  # fmt: skip
JUDGED = {
    "aspect": "quality", "judge": "helpful", "verdicts": {"win": 3, "tie": 1, "loss": 2}, "not_judged": {"timeout": 4},
    "cost": {"total": 1.25}, "cache_hits": 7, "down": True, "first": {"rate": 0.6},
    "anchors": {"state": "changed", "held": 12},
}  # fmt: skip
