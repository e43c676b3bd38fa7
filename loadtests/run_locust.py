"""Start two models and the proxy, let locust's users at it for some seconds, and demand zero failed requests.

    python -m loadtests.run_locust [--seconds 20] [--users 20]

Exit code 0 only if no request failed, the shadow was compared, and the canary answered its share.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from proxy.demo.digits import train
from proxy.demo.processes import Troupe, free_port

CONFIG = """\
server: {{listen: 127.0.0.1:{data_port}, workers: 2, timeouts: {{drain_delay: 0s}}}}
admin: {{listen: 127.0.0.1:{admin_port}}}
store: {{path: understudy.db}}
upstreams:
  logistic: {{url: {logistic}}}
  svm: {{url: {svm}}}
routes:
  - name: shadowed
    match: {{path: /v2/models/shadowed/infer}}
    live: logistic
    prediction: {{protocol: v2, output: predict, kind: label}}
    rollouts:
      - {{candidate: svm, stages: [{{shadow: 100%, min_pairs: 1000000}}], guards: {{max_disagreement: 8%}}}}
  - name: canaried
    match: {{path: /v2/models/canaried/infer}}
    live: logistic
    sticky: {{header: x-user-id}}
    prediction: {{protocol: v2, output: predict, kind: label}}
    rollouts:
      - {{candidate: svm, stages: [{{canary: 30%, min_pairs: 1000000}}], guards: {{max_disagreement: 8%}}}}
"""


async def run(seconds: int, users: int) -> int:
    """One run; the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = train(folder).files
        async with Troupe(folder) as troupe:
            logistic = await troupe.start_model("logistic", files["logistic"])
            svm = await troupe.start_model("svm", files["svm"])
            data, admin = free_port(), free_port()
            config = folder / "understudy.yaml"
            config.write_text(CONFIG.format(data_port=data, admin_port=admin, logistic=logistic, svm=svm))
            proxy = await troupe.start("understudy", "proxy", "serve", "--config", str(config))
            async with aiohttp.ClientSession(f"http://127.0.0.1:{admin}") as session:
                await proxy.until(lambda: _is_ready(session), within=30)
                code = await _locust(f"http://127.0.0.1:{data}", seconds, users)
                async with session.get("/api/v1/rollouts") as answer:
                    rollouts = (await answer.json())["rollouts"]
                async with session.get("/metrics") as answer:
                    metrics = await answer.text()
    return 0 if _report(rollouts, metrics) and code == 0 else 1


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _locust(host: str, seconds: int, users: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "--headless", "--only-summary", "--exit-code-on-error", "1"),
        *("-f", str(Path(__file__).with_name("locustfile.py")), "--host", host),
        *("-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--stop-timeout", "5"),
    )
    return await process.wait()


def _report(rollouts: list[dict[str, Any]], metrics: str) -> bool:
    """Print what the proxy says of the run; whether both rollouts were really at work."""
    answered = sum(
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("understudy_requests_total{") and 'leg="served"' in line and 'upstream="svm"' in line
    )
    print(f"answered by the canary: {answered:g}")
    for rollout in rollouts:
        ledger = rollout["ledger"]
        share = ledger["compared"] / max(1, ledger["sampled"])
        print(
            f"{rollout['name']}: {rollout['state']}, {ledger['compared']} pairs compared ({share:.1%} of the sampled)"
        )
    good = {rollout["name"]: rollout["state"] for rollout in rollouts if rollout["ledger"]["compared"] > 100}
    return answered > 0 and good == {"shadowed/svm": "shadow", "canaried/svm": "canary"}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="locust users against a fresh proxy; zero failures demanded")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--users", type=int, default=20)
    options = parser.parse_args()
    sys.exit(asyncio.run(run(options.seconds, options.users)))


if __name__ == "__main__":
    main()
