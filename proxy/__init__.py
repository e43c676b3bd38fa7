"""Understudy: a shadow-scoring and canary proxy for machine-learning inference.

The way of a request: `worker/downstream/http1` → `request/routing` → `request/exchange` → `worker/upstream/http1`, and
back to the client. The way of a pair: `worker/publisher` → `controller/controller` → `predictions` → `evidence` →
`rollout/machine`. Start reading at `model` (the nouns), then `request/exchange.py` (one request) and
`rollout/machine.py` (decisions).
"""

__version__ = "0.1.0"
