"""Which arm answers a request: as its caller asks, or as the draw has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model import BUCKETS
from proxy.model.reasons import Reason
from proxy.request.routing import chosen, number_of_key

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange


def choose_arm(exchange: Exchange) -> Reason:
    """Set `exchange.trial`, or `undrawn` where the body must be here first; a reason when what is asked is refused."""
    route, request = exchange.route, exchange.request
    trial = route.serving
    asked = request.value(route.override).lower() if route.override else b""
    if asked:
        exchange.overridden = True
        if asked == b"candidate" and trial is not None:
            exchange.trial = trial
        elif asked != b"live":
            return Reason.OVERRIDE_REFUSED
    elif route.sticky_json and trial is not None and trial.weight < BUCKETS:
        exchange.undrawn = True
    else:
        draw(exchange, route.sticky_key(request))
    return Reason.NONE


def draw(exchange: Exchange, key: bytes) -> None:
    """Choose the arm by a sticky key; without one each request is drawn by itself, by an id that no caller gave."""
    trial = exchange.route.serving
    if trial is None:
        return
    if trial.exposures is not None and 0 < trial.weight < BUCKETS:
        user = number_of_key(trial.serve_salt, key or exchange.id)
        if user % BUCKETS < trial.weight:
            exchange.trial = trial
        trial.exposures.saw(user, 0 if key else number_of_key(trial.sample_salt, exchange.request_id))
    elif chosen(trial.serve_salt, key or exchange.id, trial.weight):
        exchange.trial = trial
