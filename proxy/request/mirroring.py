"""From an answered request to a pair: the copies, and the pair's way onto the link.

A sampled request (`samples`) ends in one of two ways: `settle` finds both outcomes and publishes the pair, or it is
dropped and counted under the reason why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.http.chunks import joined_chunks
from proxy.http.headers import CHUNKED
from proxy.http.request_head import CODED
from proxy.model.reasons import Reason
from proxy.pairs.link import AGAIN, CANDIDATE_SERVED, CUT, FELL_BACK, HEDGED, KEPT, NO_OUTCOME, SLOT, kept_of
from proxy.request import memory, rewriting, samples
from proxy.request.clock import monotonic
from proxy.request.exchange import Captured, Exchange, Sample
from proxy.request.legs import bytes_of, portions

if TYPE_CHECKING:
    from proxy.request.legs import Piece, Upstream
    from proxy.request.rollouts import Trial

_NOT_FOR_LIVE: Final = frozenset({b"expect"})
_MUCH: Final = 2 * KEPT
"""Bytes of a request above which the rest is not sent where nobody needs it."""
_TOO_LONG: Final = Reason.TOO_LONG  # looking up a member of an enum costs 0.1 µs in Python 3.11


@mypyc_attr(allow_interpreted_subclasses=True)
class Copy(Captured):
    """A leg that serves nobody. `payer` is the trial whose budget of copies it uses."""

    optional = True
    payer: Trial

    def head(self, piece: bytes, done: bool) -> None:
        self.kept = []
        if done and len(piece) <= self.exchange.route.max_body:
            self.kept.append(piece)
            self.exchange.copy_done(self, self.payer)
        else:
            self.body(piece, done)

    def body(self, piece: bytes, done: bool) -> None:
        assert self.kept is not None
        assert self.answer is not None
        if piece:
            self.kept.append(piece)
            self.grow(len(piece))
            memory.charge(self.exchange, len(piece))
        if max(self.size, self.answer.length) > self.exchange.route.max_body:  # what it announces is as good as sent
            if not done:
                self.cancel()
                self.finished = monotonic()
            self.too_large = True
            self.failed(Reason.TOO_LARGE)
        elif done:
            self.exchange.copy_done(self, self.payer)

    def failed(self, reason: Reason) -> None:
        self.reason = reason
        self.kept = None
        self.exchange.copy_done(self, self.payer)


def mirror(exchange: Exchange) -> None:
    """Ask the arms that did not serve, as far as the trials' budgets have room."""
    if not exchange.body_done or exchange.parts is None:
        samples.drop_samples(exchange, "shed")
        return
    if exchange.drawn:
        _send_observation(exchange)
        if not exchange.samples:
            return
    memory.charge(exchange, exchange.uncharged)
    own = exchange.trial
    if exchange.live is None:
        # Live's copy is asked once, whoever pays, and pairs with every candidate.
        payer = next((one.trial for one in exchange.samples if one.trial is own), exchange.samples[0].trial)
        exchange.live = _copy(exchange, payer, exchange.route.live, None)
        if exchange.live is None:
            samples.drop_samples(exchange, "shed")
            return
    asked = []
    for one in exchange.samples:
        trial = one.trial
        one.candidate = exchange.first if trial is own else _copy(exchange, trial, trial.pool, trial)
        if one.candidate is None:
            samples.drop_one(one, "shed")
            continue
        asked.append(one)
        if one.wants_again:  # shed like any copy, but the pair does not need it
            one.again = _copy(exchange, trial, exchange.route.live, None)
    exchange.samples = asked
    if bytes_of(exchange.parts) > _MUCH:
        _look_through(exchange, exchange.parts)


def _copy(exchange: Exchange, payer: Trial, pool: Upstream, trial: Trial | None) -> Copy | None:
    """A copy to `pool`, or `None` when the budget is used up."""
    settings = payer.settings
    if payer.in_flight >= settings.max_in_flight:
        return None
    payer.take_slot()
    meters = exchange.route.meters if trial is None else trial.meters
    leg = Copy(exchange, pool, settings.timeout, meters.copy, trial)
    leg.payer = payer
    leg.longest = settings.max_duration
    leg.repeatable = True
    # Live has seen the caller's credentials on every other request; a candidate gets them only if the owner says so.
    # What is set on copies is the candidate's: its token and its name are none of live's business.
    if trial is None:
        base = exchange.base_without(_NOT_FOR_LIVE) + b"x-shadow: %b\r\n" % pool.label
    else:
        base = exchange.base_without(settings.drop) + settings.set_lines
    assert exchange.parts is not None
    changes = pool.changes(exchange.request.path)
    leg.is_of(exchange.request.bare() if changes else exchange.request.plain, exchange.document)
    if not changes:
        leg.gets_parts(exchange.head_for_leg(base), portions(exchange.parts))
        pool.submit(leg)
        return leg
    is_live, body = trial is None, b"".join(exchange.parts)
    sent = rewriting.for_live(exchange, base) if is_live else rewriting.rewrite_for(exchange, pool, base, body)
    if sent is None:
        leg.refused(Reason.NOT_REWRITTEN)
        return leg
    leg.gets(exchange.head_for_leg(sent[0]), sent[1])
    pool.submit(leg)
    return leg


def settle(exchange: Exchange) -> None:
    """Publish every pair that has both outcomes now, and of which it is known whose they are."""
    live = exchange.live
    if live is None or not live.ended or not exchange.answered:
        return
    waiting = []
    for one in exchange.samples:
        candidate, again = one.candidate, one.again
        if candidate is None or not candidate.ended or (again is not None and not again.ended):
            waiting.append(one)
            continue
        inquiry = candidate.inquiry
        if inquiry is not None and inquiry.pending:
            inquiry.wait(exchange.settle)
            waiting.append(one)
            continue
        one.trial.charge(-one.cost)
        why = _nobodys_fault(live, candidate, exchange.route.max_body)
        if why:
            one.trial.settle_dropped(one.sequence, why)
        else:
            _publish(exchange, one, live, candidate)
    exchange.samples = waiting


def _nobodys_fault(live: Captured, candidate: Captured, max_body: int) -> str:
    """The part of the ledger for two outcomes of which nothing can be said; empty when they make a pair.

    A candidate's answer beyond `max_body` is a failure only where live's is less than half of that: models that answer
    in lengths around the limit would else fail by chance, each where the other does not.
    """
    if live.reason is _TOO_LONG or candidate.reason is _TOO_LONG:
        return "too_long"
    if candidate.reason and candidate.inquiry is not None and candidate.inquiry.excuses:
        return "not_ready"
    if live.too_large:
        return "too_large"
    if candidate.too_large and not live.reason and live.kept is not None and 2 * sum(map(len, live.kept)) > max_body:
        return "too_large"
    return ""


def _send_observation(exchange: Exchange) -> None:
    """The client has its answer: what is observed for `drift` waits for no copy. Where a candidate answered, the
    request alone is sent: what it says is not what live says."""
    mine, live = exchange.route.observer, exchange.live
    for one in exchange.samples:
        if one.trial is not mine:
            continue
        exchange.samples = [other for other in exchange.samples if other is not one]
        mine.charge(-one.cost)
        if live is not None and live.too_large:
            mine.settle_dropped(one.sequence, "too_large")
            continue
        by_live = exchange.trial is None and live is not None
        outcome = live.outcome() if by_live and live is not None else NO_OUTCOME
        time, flags = exchange.started + exchange.context.epoch, 0 if by_live else CANDIDATE_SERVED
        exchange.context.observe(mine, one.sequence, time, flags, *_request(exchange), outcome)


def _request(exchange: Exchange) -> tuple[bytes, bytes]:
    """Head and body, without credentials."""
    return exchange.request.public(), b"".join(_body(exchange))


def _body(exchange: Exchange) -> list[Piece]:
    assert exchange.parts is not None
    if exchange.request.length == CHUNKED:
        return [joined_chunks(b"".join(exchange.parts))]
    return exchange.parts


def _is_cut(exchange: Exchange, one: Sample) -> bool:
    """Whether nobody needs the whole of a long body."""
    return not one.trial.whole_requests and exchange.request.body_form() != CODED


def _look_through(exchange: Exchange, parts: list[Piece]) -> None:
    """Reckon what stands for the rest of a long body in the turn in which its copies are written: what both read is
    fetched into the processor's cache once."""
    if exchange.request.length != CHUNKED and any(_is_cut(exchange, one) for one in exchange.samples):
        exchange.body_rest(parts)


def _publish(exchange: Exchange, one: Sample, live: Captured, candidate: Captured) -> None:
    flags, head, parts = SLOT, exchange.request.public(), _body(exchange)
    if exchange.trial is one.trial:
        flags |= CANDIDATE_SERVED | (HEDGED if exchange.hedged else 0) | (FELL_BACK if exchange.fell_back else 0)
    if bytes_of(parts) > _MUCH and _is_cut(exchange, one):
        flags |= CUT
        body = kept_of(*parts) + exchange.body_rest(parts)
    else:
        body = b"".join(parts)
    outcomes = live.outcome() + candidate.outcome()
    if one.again is not None:
        flags |= AGAIN
        outcomes += one.again.outcome()
    time = exchange.started + exchange.context.epoch
    given = exchange.request_id if exchange.request_id != exchange.id else b""
    answer = candidate.answer
    failed = bool(candidate.reason) or answer is None or answer.status >= 400
    exchange.context.publish(
        one.trial, one.sequence, one.stage, time, flags, exchange.id, head, body, outcomes, given, failed
    )
