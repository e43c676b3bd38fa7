"""Understudy: a shadow-scoring and canary proxy for machine-learning inference.

The way of a request: `plane/server` → `core/routing` → `plane/exchange` → `plane/upstream`, and back to the client.
The way of a pair: `plane/worker` → `core/link` → `control/controller` → `core/predictions` →
`core/evidence` → `core/rollout`.
Start reading at `core/model.py` (the nouns), then `plane/exchange.py` (one request) and `core/rollout.py` (decisions).
"""

__version__ = "0.1.0"
