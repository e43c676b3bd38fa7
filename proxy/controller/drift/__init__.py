"""Drift of live's requests and answers: `drift:` of a route, from observations to alarms.

    worker ──OBSERVATION──▶ `watching` (queue, reading) ──▶ `watch` (one route) ──look──▶ store ──▶ webhooks

`source`: what the file asks for; `proxy.drift` decides, `proxy.predictions.observing` reads. Nothing here knows a
rollout, and no rollout knows of it.
"""
