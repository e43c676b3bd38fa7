"""`understudy demo`: real models on real data; a good candidate is promoted, two bad ones are rolled back.

Everything here is what a newcomer would do by hand: train two models, serve them, write a configuration, start the
proxy, send traffic, listen for webhooks and watch. The demo imports nothing from the proxy's inside; it knows only the
configuration file, the data port, the admin API and the webhook's format.

    digits        data, models, requests             traffic    open-loop client
    model_server  one model behind V2                receiver   verifies webhooks
    leash, processes  children that never outlive us screen     the display
    config        the YAML file                      acts       what happens and what is promised
    loop          drift, retraining, registry, trial (loop_config, scans, registry, versions_server)
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from proxy.demo.acts import ACTS, RATE, Act, ActResult, DemoStage
from proxy.demo.config import render
from proxy.demo.digits import DIGITS_PER_REQUEST, Studio, train
from proxy.demo.loop import play_loop
from proxy.demo.processes import ChildError, Troupe, free_port
from proxy.demo.receiver import Receiver
from proxy.demo.screen import Screen

__all__ = ["main"]

READY = 30.0
"""Seconds the proxy may take to start."""
SEED = 2026
"""Of the draws of digits; each act adds its number."""


def main(keep: bool = False, as_json: bool = False, loop: bool = False) -> int:
    """Play the demo, or with `loop` the loop. Gives 0 when every promise held, 1 when one did not, 2 when scikit-learn
    is missing.

    `keep` leaves everything running at the end, with traffic, until Ctrl-C. `as_json` prints how it went as one
    JSON object, and what a person reads goes to standard error.
    """
    screen = Screen(sys.stderr if as_json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="understudy-demo-") as folder:
        try:
            return asyncio.run(_play(Path(folder), screen, keep, as_json, loop))
        except ImportError as error:
            screen.say(f"The demo needs scikit-learn ({error}): pip install 'understudy[demo]'", "red")
            return 2
        except ChildError as error:
            screen.say(f"The demo stopped: {error}", "red")
            return 1
        except asyncio.CancelledError:
            screen.keep()
            screen.say("Interrupted; everything is stopped.")
            return 1


async def _play(folder: Path, screen: Screen, keep: bool, as_json: bool, loop: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    if not loop:
        return await _demo(folder, screen, keep, as_json)
    result = await play_loop(folder, screen, keep)
    if as_json:
        _print(result)
    return 0 if result["ok"] else 1


async def _demo(folder: Path, screen: Screen, keep: bool, as_json: bool) -> int:
    studio = _introduce(folder, screen)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    receiver = Receiver(secret)
    runner, hook = await receiver.start()
    try:
        async with Troupe(folder) as troupe:
            stage = await _raise_curtain(folder, screen, studio, receiver, troupe, hook, secret)
            results = [await _perform(act, number, stage, screen, troupe) for number, act in enumerate(ACTS)]
            kept = _sum_up(results, screen)
            if as_json:
                _report(results, studio, kept)
            if keep:
                await _encore(stage, folder, screen)
            return 0 if kept else 1
    finally:
        await runner.cleanup()


def _introduce(folder: Path, screen: Screen) -> Studio:
    screen.say("Training two models on a third of scikit-learn's digits …", "dim")
    studio = train(folder)
    for name, accuracy in studio.accuracy.items():
        screen.say(f"  {name:9} {accuracy:6.1%} right on the digits neither has seen")
    screen.say(
        f"  They differ on {studio.disagreement:.1%} of those. The limit is 8 %, fixed before the first request."
    )
    screen.say(f"Each request carries {DIGITS_PER_REQUEST} digits drawn with replacement; {RATE:g} requests a second.")
    return studio


async def _raise_curtain(
    folder: Path, screen: Screen, studio: Studio, receiver: Receiver, troupe: Troupe, hook: str, secret: str
) -> DemoStage:
    screen.say("Starting four model servers and the proxy …", "dim")
    live, *candidates = await asyncio.gather(
        troupe.start_model("logistic", studio.files["logistic"]),
        *(troupe.start_model(act.candidate, studio.files[act.model], *act.flags) for act in ACTS),
    )
    data_port, admin_port = free_port(), free_port()
    urls = {act.candidate: url for act, url in zip(ACTS, candidates, strict=True)}
    config = folder / "understudy.yaml"
    config.write_text(render(data_port, admin_port, hook, live, urls))
    environment = {"UNDERSTUDY_DEMO_SECRET": secret}
    proxy = await troupe.start("understudy", "proxy", "serve", "--config", str(config), environment=environment)
    stage = DemoStage(f"http://127.0.0.1:{data_port}", f"http://127.0.0.1:{admin_port}", receiver, studio, screen)
    await stage.ready(proxy, READY)
    screen.say(f"  clients: {stage.data_url}   admin API and console: {stage.admin_url}")
    return stage


async def _perform(act: Act, number: int, stage: DemoStage, screen: Screen, troupe: Troupe) -> ActResult:
    screen.say()
    screen.say(act.title, "bold")
    screen.say(f"  {act.story}")
    result = await stage.play(act, SEED + number)
    troupe.check()
    screen.say(f"  {result.state} after {result.seconds:.1f} s", "green" if result.state == act.end else "red")
    for promise in result.broken:
        screen.say(f"  failed check: {promise}", "red")
    return result


def _sum_up(results: list[ActResult], screen: Screen) -> bool:
    """Show how the acts went; whether every promise was kept."""
    screen.say()
    columns = [result.facts for result in results]
    screen.table([(fact, *(column[fact] for column in columns)) for fact in columns[0]])
    kept = not any(result.broken for result in results)
    screen.say("All checks passed." if kept else "A check failed.", "green" if kept else "red")
    return kept


def _report(results: list[ActResult], studio: Studio, kept: bool) -> None:
    """The same as one JSON object on standard output."""
    report = {
        "ok": kept,
        "accuracy": {name: round(share, 4) for name, share in studio.accuracy.items()},
        "disagreement": round(studio.disagreement, 4),
        "acts": [result.report() for result in results],
    }
    _print(report)


def _print(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.stdout.flush()  # with `keep` it is read while everything runs on


async def _encore(stage: DemoStage, folder: Path, screen: Screen) -> None:
    """Keep everything running, with a little traffic, until a signal cancels us."""
    screen.say()
    screen.say("Still running; Ctrl-C ends it.", "bold")
    screen.say(f"  console   {stage.admin_url}/")
    screen.say(f"  rollouts  {stage.admin_url}/api/v1/rollouts")
    screen.say(f"  metrics   {stage.admin_url}/metrics")
    screen.say(f"  clients   {stage.data_url}/v2/models/{ACTS[0].route}/infer")
    screen.say(f"  files     {folder}")
    traffic = [stage.traffic(act, SEED + number, 20.0, lambda seen: None) for number, act in enumerate(ACTS)]
    try:
        await asyncio.gather(*(each.run() for each in traffic))
    except asyncio.CancelledError:
        screen.say("Stopping.")
