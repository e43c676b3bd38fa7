"""A body that must be here before anybody is asked.

So it is when the body says where it belongs (`match.json`) or which arm answers (`sticky.json`), when the upstream that
is to serve gets it changed (`set_json`), when both arms get it before the answer (`dual_write`), and when it says which
endpoint of an arm is asked (`balance`). No model answers before it has read its request, so gathering costs nothing but
memory. A body that is too long, or for which there is no memory, is not waited for: it has no fields and no sticky key,
is served by live where a candidate would get it changed, is not written to both, and goes to the less loaded endpoint.

And so it is, up to `server.limits.buffer`, with any body that does not come at once: connections to a model are few,
and whoever sends slowly is not to hold one meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.fields import sticky
from proxy.model.reasons import Reason
from proxy.request import arms, dual_write, machine, rewriting
from proxy.request.clock import monotonic
from proxy.request.gathered import ForBoth, ForLive, ForPlace, ForRoute, ForTrial
from proxy.request.legs import portions

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.fork import Fork
    from proxy.request.gathered import Gathered
    from proxy.request.legs import Piece
    from proxy.request.routes import Route


def _wanted(exchange: Exchange) -> Gathered | None:
    """What the body is gathered in, if it decides or changes something and may be short enough."""
    route, trial = exchange.route, exchange.trial
    wanted: Gathered | None = None
    if exchange.unrouted:
        wanted = ForRoute(exchange.context, exchange.request.fork.max_body)
    elif route.dual_write is not None:
        wanted = ForBoth(route.dual_write)
    elif exchange.undrawn and route.serving is not None:
        wanted = ForTrial(route.serving)
    elif trial is not None and trial.pool.changes(exchange.request.path):
        wanted = ForTrial(trial)
    elif trial is None and route.live.changes(exchange.request.path):
        wanted = ForLive(exchange.context)
    elif (trial.pool if trial is not None else route.live).reads_body:
        wanted = ForPlace(exchange.context, route.max_pair)
    return wanted if wanted is not None and exchange.request.length <= wanted.most else None


def _buffer(exchange: Exchange) -> Gathered | None:
    """What any other body is gathered in. Whether a long one is wanted (100) is for the model to say."""
    request = exchange.request
    buffer = ForPlace(exchange.context)
    asks = b"expect" in request.found and request.length > buffer.most
    return None if asks or not buffer.most else buffer


def _is_enough(exchange: Exchange, gathered: Gathered) -> bool:
    """Whether nothing more is waited for of a body that is not here whole."""
    return exchange.is_stream() if gathered.for_place else exchange.is_enough(False)


def ask_arms(exchange: Exchange, piece: Piece, done: bool, now: float = 0.0) -> None:
    """Ask the arms, at once or when the body is here as far as it is needed."""
    gathered = None
    if not done:
        gathered = _wanted(exchange) or _buffer(exchange)
    if gathered is not None and not _is_enough(exchange, gathered):
        if gathered.add(piece):
            exchange.gathered = gathered
            if b"expect" in exchange.request.found:
                exchange.take_body()
            return
        gathered.release()
    if _passes(exchange):
        exchange.send(piece, done, now or exchange.started)
    else:
        _go_on(exchange, bytes(piece), done, now or exchange.started)


def more(exchange: Exchange, gathered: Gathered, piece: bytes, done: bool) -> None:
    """More of a body that is being gathered."""
    if gathered.add(piece) and not done and not _is_enough(exchange, gathered):
        return
    exchange.gathered = None
    parts = portions(gathered.release())
    route = exchange.route
    fits = gathered.size <= route.max_body or not (route.trials or route.observer)  # or there is nobody to keep it
    if done and len(parts) > 1 and fits and _passes(exchange):
        exchange.send(parts[0], True, monotonic(), parts[1:])
    else:
        _go_on(exchange, b"".join(parts), done, monotonic())


def _passes(exchange: Exchange) -> bool:
    """Whether nobody wants to look at a body, or to change it, before it is sent."""
    route, path = exchange.route, exchange.request.path
    if exchange.unrouted or exchange.undrawn or route.dual_write is not None:
        return False
    pool = exchange.trial.pool if exchange.trial is not None else route.live
    return not (pool.reads_body or pool.changes(path))


def give_up(exchange: Exchange) -> None:
    """The client has left, and live has not been asked yet, and now will not be."""
    if exchange.write is not None:
        dual_write.go_on(exchange)
    elif exchange.gathered is not None:
        exchange.gathered.release()


def _go_on(exchange: Exchange, body: bytes, done: bool, now: float) -> None:
    """As much of the body is here as will be waited for; `done` says that it is whole."""
    if exchange.unrouted:
        exchange.unrouted = False
        _route(exchange, body, done, now)
        return
    if exchange.undrawn:
        exchange.undrawn = False
        arms.draw(exchange, _key(exchange, body, done))
        if not done:
            ask_arms(exchange, body, done)  # whoever is to get it changed may want more of it
            return
    rewriting.change(exchange, body, done)
    both = exchange.route.dual_write
    if both is None:
        exchange.send(body, done, now)
    else:
        dual_write.ask(exchange, both, body, done, now)


def _route(exchange: Exchange, body: bytes, done: bool, now: float) -> None:
    """The body says where the request belongs."""
    request = exchange.request
    fork: Fork[Route] = request.fork
    document = exchange.read_json(body) if done and fork.reads(body) else None
    route = fork.pick(request, body, document)
    if route is None:
        exchange.on(machine.REFUSED)
        exchange.client.refuse(Reason.NO_ROUTE)
        return
    exchange.route = route
    refused = exchange.enter(body, done, now)
    if refused:
        exchange.client.refuse(refused)


def _key(exchange: Exchange, body: bytes, done: bool) -> bytes:
    """The sticky key in a body, empty when it has none that can be read."""
    request, path = exchange.request, exchange.route.sticky_json
    if exchange.route.is_grpc:
        return sticky.message_key(body, path) if request.path in sticky.CALLS else b""
    trial = exchange.route.serving
    if not done or trial is None or len(body) > trial.settings.max_body:
        return b""
    return sticky.json_key(exchange.read_json(body), path)
