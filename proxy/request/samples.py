"""Which requests are sampled, and how a sample ends without a pair.

A sampled request is booked in its trial's ledger before any answer exists. `pairs` publishes it, or it is dropped here
and counted under the reason why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model import BUCKETS
from proxy.request.exchange import Sample
from proxy.request.routing import chosen

if TYPE_CHECKING:
    from proxy.request.exchange import Exchange
    from proxy.request.observing import Observer
    from proxy.request.rollouts import Trial


def sample(exchange: Exchange) -> None:
    """Book the request in every trial that samples it, before any answer exists. A caller who asked for an arm is none:
    who chooses the arm may choose the requests."""
    if exchange.overridden:
        return
    if not exchange.context.told:
        _early(exchange)
    name, length = exchange.id, exchange.request.length
    samples: list[Sample] = []
    for trial in exchange.route.trials:
        share = trial.share if trial is not exchange.trial else trial.affords
        if share < BUCKETS and not chosen(trial.sample_salt, name, share):
            continue
        settings = trial.settings
        if settings.paced and _is_spared(exchange, trial, share):
            continue
        sequence = trial.begin()
        if length > settings.max_body:
            trial.settle_dropped(sequence, "too_large")
        elif trial.memory + exchange.context.backlog > settings.max_memory:
            trial.settle_dropped(sequence, "shed")
        else:
            again = settings.noise_floor > 0 and chosen(trial.noise_salt, name, settings.noise_floor)
            samples.append(Sample(trial, sequence, again))
    if exchange.drawn and exchange.route.observer is not None:
        _observe(exchange, exchange.route.observer, samples)
    exchange.samples = samples


def _observe(exchange: Exchange, observer: Observer, samples: list[Sample]) -> None:
    sequence = observer.begin()
    if exchange.request.length > observer.settings.max_body:
        observer.settle_dropped(sequence, "too_large")
    elif observer.memory + exchange.context.backlog > observer.settings.max_memory:
        observer.settle_dropped(sequence, "shed")
    else:
        samples.append(Sample(observer, sequence, False))


def _is_spared(exchange: Exchange, trial: Trial, share: int) -> bool:
    """Whether the link to the controller is filling, so that a request of the share is not sampled: before anything is
    known of it, by the hash that had it sampled (`max_pairs_per_second: auto`)."""
    counts, room = exchange.context.counts, exchange.context.room
    spared = room < BUCKETS and not chosen(trial.sample_salt, exchange.id, share * room // BUCKETS)
    counts.was_due(trial.affords, spared)
    return spared


def _early(exchange: Exchange) -> None:
    """It came before the first routing table, so that nobody knew whether to sample it."""
    for trial in exchange.route.trials:
        exchange.context.counts.came_early(trial.settings.name)


def drop_samples(exchange: Exchange, why: str) -> None:
    """There will be no pair for any trial; `why` is a part of the ledger."""
    for one in exchange.samples:
        drop_one(one, why)
    exchange.samples = ()


def keep_only(exchange: Exchange, own: Sample) -> None:
    """The client left this sample's candidate: the others are spared, and live is not asked twice."""
    for one in exchange.samples:
        if one is not own:
            drop_one(one, "client_gone")
    own.wants_again = False
    exchange.samples = [own]


def shed(exchange: Exchange) -> None:
    """Give up the samples whose trial keeps more than its memory allows."""
    for one in tuple(exchange.samples):
        if one.trial.memory > one.trial.settings.max_memory:
            exchange.samples = [other for other in exchange.samples if other is not one]
            drop_one(one, "shed")


def drop_one(one: Sample, why: str) -> None:
    """There will be no pair for this trial."""
    one.trial.settle_dropped(one.sequence, why)
    one.trial.charge(-one.cost)
