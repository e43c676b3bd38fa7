"""The demo's configuration file, as an owner would write it: limits fixed before the first request.

The good candidate really differs from live on 3 to 4 % of the digits, so `max_disagreement: 8%` leaves room for what is
known beforehand. Latency limits are absolute and wide: a small and perhaps busy machine also runs the models, the
client and this display, and what is shown here is not its speed. `latency_block: 10ms` makes a hundred blocks a
second, so that a stage takes seconds instead of minutes; in production the default of 100ms is right. Copies are shed
late (`max_in_flight`): a machine that stands still for a moment would shed some, and those count as the slowest.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.demo.acts import ACTS, Act

_HEAD = """\
server: {{listen: 127.0.0.1:{data_port}, workers: 2, timeouts: {{drain_delay: 0s}}}}
admin: {{listen: 127.0.0.1:{admin_port}}}
store: {{path: understudy.db}}
log: {{format: text, level: info}}
webhooks:
  - url: {receiver}
    events: [rollout.advanced, rollout.promoted, rollout.rolled_back]
    secrets: ["${{UNDERSTUDY_DEMO_SECRET}}"]
upstreams:
  logistic: {{url: {live}, timeout: 10s, connect_timeout: 5s}}
"""

_UPSTREAM = '  {candidate}: {{url: {url}, timeout: 10s, connect_timeout: 5s, version: "demo"}}\n'

_ROUTE = """\
  - name: {route}
    match: {{path: /v2/models/{route}/infer, methods: [POST]}}
    live: logistic
    prediction: {{protocol: v2, output: predict, kind: label}}
    rollouts:
      - candidate: {candidate}
        latency_block: 10ms
        mirror: {{max_in_flight: 1024}}
        stages:
          - {{shadow: 100%, min_pairs: 500}}
          - {{canary: 10%, min_pairs: 500}}
          - {{canary: 50%, min_pairs: 500}}
        guards:
          max_disagreement: 8%
          p99_latency: 5s
          median_latency: 2s
          max_extra_errors: 1%
"""


def render(data_port: int, admin_port: int, receiver: str, live: str, candidates: Mapping[str, str]) -> str:
    """The YAML text; `candidates` maps each act's candidate to its URL."""
    head = _HEAD.format(data_port=data_port, admin_port=admin_port, receiver=receiver, live=live)
    upstreams = "".join(_UPSTREAM.format(candidate=name, url=url) for name, url in candidates.items())
    return head + upstreams + "routes:\n" + "".join(_route(act) for act in ACTS)


def _route(act: Act) -> str:
    return _ROUTE.format(route=act.route, candidate=act.candidate)
