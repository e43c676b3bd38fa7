"""The loop's configuration file, as an owner would write it once and never touch again.

The retrained model answers otherwise than live on most new scans, and that is its merit: so what is guarded is quality
against the truth, not agreement. Latency limits are wide and `latency_block` short for the reasons in `config`.
"""

from __future__ import annotations

from string import Template

_FILE = Template("""\
server: {listen: 127.0.0.1:$data_port, workers: 2, timeouts: {drain_delay: 0s}}
admin: {listen: 127.0.0.1:$admin_port}
store: {path: understudy.db}
log: {format: text, level: info}
webhooks:
  - url: $receiver
    events: [drift.detected, rollout.began, rollout.advanced, rollout.promoted, rollout.rolled_back]
    secrets: ["$${UNDERSTUDY_DEMO_SECRET}"]
upstreams:
  live: {url: $models/champion, timeout: 10s, connect_timeout: 5s}
  next:
    url: "$models/v{version}"
    health: {path: /ready, interval: 200ms}
    timeout: 10s
    connect_timeout: 5s
registry:
  http:
    secret: "$${UNDERSTUDY_DEMO_SECRET}"
    write:
      url: "$registry/models/{model}/versions/{version}"
      method: PATCH
      body: {state: "{state}", alias: "{alias}", reason: "{reason}", see: "{url}"}
  models:
    digits: {upstream: next, promoted: alias champion}
routes:
  - name: digits
    match: {path: /v2/models/digits/infer, methods: [POST]}
    live: live
    prediction: {protocol: v2, output: predict, kind: label, label_delay: 2s}
    drift:
      inputs: {ink: {pointer: /parameters/ink, kind: number}}
      predictions: true
      reference: {first: 1000}
      alarms: 1 per 30d
      observations_per_second: 200
    rollouts:
      - candidate: next
        latency_block: 10ms
        mirror: {max_in_flight: 1024}
        stages:
          - {shadow: 100%, min_pairs: 300}
          - {canary: 10%, min_pairs: 300}
          - {canary: 50%, min_pairs: 300}
        guards:
          max_quality_drop: 5%
          p99_latency: 5s
          median_latency: 2s
          max_extra_errors: 1%
""")


def render_loop(data_port: int, admin_port: int, receiver: str, models: str, registry: str) -> str:
    """The YAML text."""
    return _FILE.substitute(
        data_port=data_port, admin_port=admin_port, receiver=receiver, models=models, registry=registry
    )
