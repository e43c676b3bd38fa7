"""The detector of a route: observations in, findings out. See the package for its use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from proxy.drift.bets import LEAST, BetGrid, RestartSums, cumulants_of, square_cumulants
from proxy.drift.channels import channels_of
from proxy.drift.charts import ChartCounts
from proxy.drift.describing import Moved, describe_drift
from proxy.drift.dispersion import Dispersion
from proxy.drift.drawing import drawn_bucket
from proxy.drift.finding import DriftBucket, DriftFinding, DriftState
from proxy.drift.jumps import before_block, echoes, jump_costs, restarted
from proxy.drift.observations import Absent, FieldValue, Observations
from proxy.drift.plan import DriftPlan
from proxy.drift.reference import CycleReference, centred
from proxy.drift.returning import BACK, evidence_back
from proxy.drift.scoring import FIRST, LabelScorer, NumberScorer, Scored, Scorer, limit_scores, present, scorer_of
from proxy.drift.watched import WatchedField
from proxy.evidence.process.prf import key_of
from proxy.evidence.process.wealth import Bools, Floats

SHORTEST, LONGEST, ENOUGH = 1.0, 600.0, 32
"""A block ends after a second if it has enough observations, else after ten minutes."""
STRICT: Final = 0.35
"""Of the budget this part is spent: where 0.35 alarms are expected, more than one comes in 5 % of the cases."""
RANGE: Final = 6.0
"""Nats below an alarm at which `evidence` begins to be said."""
ERRORS, FIXED = 2.0, 3.0
"""Standard errors by which the expected mean is moved against every bet, with a period and without. Without one the
reference may be short, and much traffic is compared with it before it has learned more, a day later."""
SPREAD: Final = 0.05
"""A mean square that differs by less, about 4 % of a standard deviation, is no drift: the reference's own deviations
are from means that it knows."""
FAR: Final = 3
"""The channel of a number's far values."""
ROWS: Final = 4096
"""Observations that are scored at once."""


class DriftDetector:
    """Everything of a plan. Channels of all fields lie side by side in arrays (channels, …)."""

    def __init__(self, plan: DriftPlan) -> None:
        self.plan = plan
        self.key = key_of(plan.seed, "drift")
        ends = np.cumsum([0, *(len(channels_of(field)) for field in plan.fields)])
        self.fields = [
            WatchedField(field, slice(int(a), int(b)), share)
            for field, a, b, share in zip(plan.fields, ends, ends[1:], plan.shares(), strict=False)
        ]
        channels = tuple(channel for one in self.fields for channel in one.channels)
        self.width = len(channels)
        self.grid = BetGrid.of(channels)
        self.cyclic = np.array([one.cyclic for one in channels], np.bool_)
        self.limits = np.array([np.nan if one.limit is None else one.limit for one in channels])
        self.limited = ~np.isnan(self.limits)
        self.weights = np.zeros_like(self.grid.weights)
        self.cumulants = 0.5 * self.grid.sizes**2
        self.reference = CycleReference(plan.period, self.width)
        self.errors = FIXED if plan.period is None else ERRORS
        self.dispersion = Dispersion(self.grid.rate, days=plan.period is not None)
        self.restarts = RestartSums(self.width)
        self.squares, self.bets_on = np.zeros((2, self.width))
        self.drifts, self.knows, self.learning = np.zeros((3, self.width), np.bool_)
        self.block = np.zeros((3, self.width))
        """Scores, trials, values in their own unit of the block under way."""
        self.count, self.start, self.previous, self.last = 0, 0.0, np.inf, np.inf
        """Its observations and its start, the start of the block before, the time of the latest observation."""
        self.jumps, self.fresh = np.flatnonzero([one.jumps for one in channels]), np.zeros_like(self.weights)
        """Channels, and what restarts at observations of the block under way are worth."""
        for one in self.fields:
            self._silence(one)
            self._bet(one)

    def add(self, observations: Observations) -> tuple[DriftFinding, ...]:
        """Take observations; returns the findings of fields that began to drift, or ended, in the meantime."""
        order = observations.order()
        times = np.asarray(observations.times, np.float64)[order]
        if self.count and len(times):
            times = np.maximum(times, self.start)
        changes: list[DriftFinding] = []
        at = 0
        while at < len(order):
            rows = order[at : at + self._at_once()]
            columns = [[column[i] for i in rows] for column in observations.columns]
            changes += self._take(times[at : at + len(rows)], columns)
            at += len(rows)
        if self.count and self._looks_like_drift():
            changes += self._close()
        return tuple(changes)

    def _at_once(self) -> int:
        """How many observations are scored with what was known before: few while references are learned."""
        if any(one.state is DriftState.LEARNING for one in self.fields):
            return min(ROWS, max(ENOUGH, self.plan.first // 8))
        return ROWS

    def findings(self) -> tuple[DriftFinding, ...]:
        """Of every field, in the order of the plan."""
        return tuple(self.finding(one) for one in self.fields)

    def hardly_there(self, least: int) -> list[tuple[str, int, int]]:
        """Fields that cannot be learned: name, values and observations of those that had a value in fewer than one of
        100 observations, `least` of them or more."""
        counts = [(one.field.name, one.seen, one.seen + one.missed) for one in self.fields if one.stage < 2]
        return [facts for facts in counts if facts[2] >= least and 100 * facts[1] < facts[2]]

    def accept(self, name: str) -> None:
        """What the field is now is its reference: it is learned anew. KeyError for another name."""
        one = self._named(name)
        one.begin()
        self.reference.forget(one.columns, all_of_it=True)
        self.dispersion.forget(one.columns)
        self.block[:, one.columns] = 0.0
        self._silence(one)
        self._bet(one)

    def chart(self, name: str) -> tuple[DriftBucket, ...]:
        """What the field was, by spans of time, oldest first; KeyError for another name."""
        one = self._named(name)
        if one.chart is None or one.scorer is None:
            return ()
        starts = np.asarray(one.chart.spans[: one.chart.used] * one.chart.seconds, np.float64)
        means = self.reference.means[self.reference.cells(starts + 0.5 * one.chart.seconds)][:, one.columns]
        drawing = zip(starts.tolist(), one.chart.counts, means, strict=False)
        return tuple(drawn_bucket(one.scorer, start, one.chart.seconds, *facts) for start, *facts in drawing)

    def _named(self, name: str) -> WatchedField:
        return {one.field.name: one for one in self.fields}[name]

    def _take(self, times: Floats, columns: Sequence[Sequence[FieldValue]]) -> list[DriftFinding]:
        n = len(times)
        facts = np.zeros((3, n, self.width))
        for one, column in zip(self.fields, columns, strict=True):
            seen = np.flatnonzero([value is not Absent.UNSEEN for value in column])
            if len(seen):
                scores, trials, bins, values = self._scored(one, times[seen], [column[i] for i in seen.tolist()])
                facts[0][seen, one.columns], facts[1][seen, one.columns] = scores, trials
                facts[2][seen, one.columns] = np.nan_to_num(values)[:, None]
                if one.chart is not None:
                    one.chart.add(times[seen], bins)
        return self._blocks(times, facts)

    def _scored(self, one: WatchedField, times: Floats, column: Sequence[FieldValue]) -> Scored:
        """Scores of a column; while the first values are gathered, of what has a limit alone."""
        if one.state is DriftState.LEARNING or one.scorer is None:
            here = present(one.field.kind, column)
            one.began = float(times[0]) if one.began < 0.0 else one.began
            one.seen, one.missed = one.seen + int(here.sum()), one.missed + int((~here).sum())
            if one.scorer is None:
                self._gather(one, times, column, here)
                return limit_scores(one.field, column)
            if one.stage == 0:
                one.scorer.learn(column)
        scores, trials, bins, values = one.scorer.score(column)
        if isinstance(one.scorer, NumberScorer) and scores[:, FAR].any():
            again, one.wild = echoes(times, scores[:, FAR] > 0.0, values, one.wild)
            scores[again, FAR], trials[again, FAR] = 0.0, 0.0
        return scores, trials, bins, values

    def _gather(self, one: WatchedField, times: Floats, column: Sequence[FieldValue], here: Bools) -> None:
        """First values, from which bins come; they are the reference's beginning. What is missing is only counted."""
        cells, missing = self.reference.cells(times), slice(one.columns.start, one.columns.start + 1)
        self.reference.learn(cells, np.asarray(~here[:, None], np.float64), np.ones((len(cells), 1)), missing)
        one.first += [value for value, ok in zip(column, here, strict=True) if ok]
        one.first_times += times[here].tolist()
        if one.seen >= max(2, min(FIRST, self.plan.first // 2)):
            self.score_by(one, scorer_of(one.field, one.first, self.key))
            assert one.scorer is not None
            assert one.chart is not None
            one.scorer.learn(one.first)
            scores, trials, bins, _ = one.scorer.score(one.first)
            scores[:, 0], trials[:, 0] = 0.0, 0.0
            first_times = np.array(one.first_times)
            self.reference.learn(self.reference.cells(first_times), scores, trials, one.columns)
            one.chart.add(first_times, bins)
            one.first, one.first_times = [], []

    def score_by(self, one: WatchedField, scorer: Scorer) -> None:
        """The first values of a field are known."""
        one.scorer, one.chart = scorer, ChartCounts(scorer.bins)
        for number, binned in scorer.levels().items():
            level = one.columns.start + number
            self.cumulants[level] = cumulants_of(binned.scores[:, 0], binned.mass)
            if one.channels[number + 1].what == "spread":
                mean = float(binned.mass @ binned.scores[:, 1])
                self.cumulants[level + 1] = np.minimum(square_cumulants(binned.scores[:, 1] - mean, binned.mass), 1e6)
                self.squares[level + 1] = binned.square

    def _blocks(self, times: Floats, facts: Floats) -> list[DriftFinding]:
        changes, at, n = [], 0, len(times)
        while at < n:
            if not self.count:
                self.start = float(times[at])
            enough = max(int(np.searchsorted(times, self.start + SHORTEST)), at + max(0, ENOUGH - self.count))
            until = min(n, enough, max(at, int(np.searchsorted(times, self.start + LONGEST))))
            self.block += facts[:, at:until].sum(axis=1)
            self._restart(times[at:until], facts[0, at:until], facts[1, at:until])
            self.count += until - at
            at = until
            if at < n:
                changes += self._close()
        return changes

    def _restart(self, times: Floats, scores: Floats, trials: Floats) -> None:
        """Bets on jumps begin anew at each observation."""
        if not len(times) or not len(self.jumps):
            return
        jumps, bursts = self.jumps, self.dispersion.sizes()[self.jumps, None]
        errors = self.errors * np.sqrt(np.where(self.knows[jumps], self.reference.unsure[jumps], 0.0))
        costs = jump_costs(self.reference.means[0, jumps], errors, self.grid.sizes[jumps]) / bursts
        seconds, self.last = max(0.0, min(LONGEST, float(times[-1]) - self.last)), float(times[-1])
        facts = (scores[:, jumps], trials[:, jumps], self.grid.sizes[jumps] / bursts, costs, seconds)
        self.fresh[jumps] = restarted(self.fresh[jumps], *facts)

    def _passed(self, logs: Floats) -> Floats:
        """The time that the block under way has for restarts, in units of `per`, (channels, 12): what has passed since
        the one before began, so that what changes in a pause is since its end."""
        passed = np.full_like(logs, max(0.0, min(LONGEST, self.start - self.previous)))
        passed[self.jumps] = before_block(self.fresh[self.jumps], logs[self.jumps])
        return passed / self.plan.per * self.bets_on[:, None]

    def _looks_like_drift(self) -> bool:
        """Whether the block under way is enough for an alarm, so that it need not be waited for: its factors are
        products over its observations, so one may stop at any of them."""
        _, logs = self._log_factors(self.block[0], self.block[1], self.start)
        wealth = self.weights * np.exp(np.minimum(logs, 60.0)) * (self.restarts.wealth + self._passed(logs))
        return any(self._spent(one, wealth) >= 1.0 for one in self.fields)

    def _spent(self, one: WatchedField, wealth: Floats) -> float:
        """What a field has of what makes an alarm; `wealth` (channels, 12)."""
        return float(wealth[one.columns].sum()) * one.share * STRICT * self.plan.alarms

    def _close(self) -> list[DriftFinding]:
        """End the block under way."""
        changes = self._step(self.block[0], self.block[1], self.block[2], self.start)
        self.block, self.count, self.previous = np.zeros_like(self.block), 0, self.start
        self.fresh[:] = 0.0
        return changes

    def _step(self, sums: Floats, trials: Floats, values: Floats, start: float) -> list[DriftFinding]:
        self._learn(self.reference.cell(start), sums, trials, start)
        good = self.knows & ~self.drifts
        late = good & ~self.learning
        if self.reference.wait(start, np.where(late, sums, 0.0), np.where(late, trials, 0.0)):
            self.refresh()
        (apart, spread), logs = self._log_factors(sums, trials, start)
        known = np.where(good, (apart, spread, trials), 0.0)
        self.dispersion.add(known[0], known[1], known[2], int(start // self.reference.tick))
        facts = np.stack([np.full(self.width, start), trials, apart, values])
        self.restarts.step(logs, self._passed(logs), self.drifts, facts)
        return self._decide(apart, trials, start)

    def _log_factors(self, sums: Floats, trials: Floats, start: float) -> tuple[tuple[Floats, Floats], Floats]:
        """Of a block: by how much its sums differ from what is expected, and their variance if independent, both
        (channels,); log factors (channels, 12)."""
        means, errors = self._expected(self.reference.cell(start))
        sums = centred(sums, trials, means, self.squares)
        logs = self.grid.factors(sums, trials, means, errors, self.cumulants) / self.dispersion.sizes()[:, None]
        return (sums - trials * means, np.where(self.grid.rate, sums * (1.0 - means), trials)), logs

    def _learn(self, cell: int, sums: Floats, trials: Floats, start: float) -> None:
        for one in self.fields:
            self.learning[one.columns] = one.state is DriftState.LEARNING
            if one.state is DriftState.LEARNING and one.scorer is not None:
                here = one.columns
                self.reference.learn(np.array([cell]), sums[None, here], trials[None, here], here)
                self._progress(one, start - one.began)

    def _expected(self, cell: int) -> tuple[Floats, Floats]:
        """Means, and by how much they may be wrong (`ERRORS` or `FIXED` standard errors), both (channels,)."""
        means = np.where(self.limited, self.limits, self.reference.means[cell])
        errors = self.errors * np.sqrt(np.where(self.limited | ~self.knows, 0.0, self.reference.unsure))
        return means, errors + np.where(self.squares > 0.0, SPREAD, 0.0)

    def _progress(self, one: WatchedField, passed: float) -> None:
        """The first half of a reference says what to expect, the second how well that is kept. Then bets begin; those
        on what knows no cycle after the first half, those on limits with the first value."""
        first, cover = self.plan.first, self.reference.cover
        if one.stage == 0 and one.seen >= first / 2 and passed >= cover:
            one.stage = 1
            if isinstance(one.scorer, LabelScorer):
                self.reference.expect(one.columns.stop - 1, one.scorer.once)
            self.knows[one.columns] = True
            self.refresh()
            self._bet(one)
        elif one.stage == 1 and one.seen >= first and passed >= 2.0 * cover:
            one.stage, one.state = 2, DriftState.STEADY
            self.refresh()
            self._bet(one)

    def refresh(self) -> None:
        """Compute anew what the reference expects."""
        shares, noise, sizes = self.reference.shares(), self.dispersion.noise(), self.dispersion.sizes()
        variance = np.where(self.grid.rate, np.maximum(shares * (1.0 - shares), LEAST), 1.0)
        self.reference.refresh(noise * variance, sizes / noise, self.cyclic, self.grid.rate, self.squares)

    def _bet(self, one: WatchedField) -> None:
        """From no wealth on."""
        sums, trials = (array[:, one.columns].sum(0) for array in (self.reference.sums, self.reference.trials))
        limited = self.limited[one.columns]
        active = (trials > 0.0) & ((sums > 0.0) | np.array([channel.what != "share" for channel in one.channels]))
        active = limited | (active & (one.stage > 0))
        if one.stage < 2:
            active &= ~self.cyclic[one.columns]
        self.restarts.wealth[one.columns], self.fresh[one.columns] = 0.0, 0.0
        self.restarts.since[:, one.columns] = 0.0
        self.bets_on[one.columns] = active
        stakes = np.where(self.cyclic[one.columns], 2.0 / 3.0, 1.0 / 3.0) * active
        for same in (self.cyclic[one.columns], ~self.cyclic[one.columns]):
            stakes[same] /= max(1, int(active[same].sum()))
        self.weights[one.columns] = self.grid.weights[one.columns] * (stakes / max(1e-300, stakes.sum()))[:, None]

    def _silence(self, one: WatchedField) -> None:
        """No bets."""
        self.weights[one.columns], self.bets_on[one.columns] = 0.0, 0.0
        self.restarts.wealth[one.columns], self.fresh[one.columns] = 0.0, 0.0
        self.knows[one.columns] = self.limited[one.columns] | (one.stage > 0)
        self.drifts[one.columns] = one.state is DriftState.DRIFTING

    def _decide(self, apart: Floats, trials: Floats, start: float) -> list[DriftFinding]:
        """Who begins to drift, and who is back."""
        changes, wealth = [], self.weights * self.restarts.wealth
        for one in self.fields:
            if one.state is not DriftState.DRIFTING:
                if self._spent(one, wealth) >= 1.0:
                    self._begin_drift(one, wealth)
                    changes.append(self.finding(one))
            elif self._is_back(one, apart, trials, start):
                changes.append(replace(self.finding(one), state=DriftState.ENDED))
                one.state = DriftState.STEADY if one.stage == 2 else DriftState.LEARNING
                self._silence(one)
                self._bet(one)
        return changes

    def _is_back(self, one: WatchedField, apart: Floats, trials: Floats, start: float) -> bool:
        """Whether drift is over with this block."""
        lead = one.lead
        mean = float(self._expected(self.reference.cell(start))[0][lead])
        error = 0.0 if self.limited[lead] else float(np.sqrt(self.reference.unsure[lead]))
        facts = (mean, error, float(apart[lead]), float(trials[lead]))
        more = evidence_back(one.channels[lead - one.columns.start].what, one.told, *facts)
        one.back = max(0.0, one.back + more / float(self.dispersion.sizes()[lead]))
        return one.back >= BACK

    def _begin_drift(self, one: WatchedField, wealth: Floats) -> None:
        here = wealth[one.columns]
        alone = here.sum(1) * one.share * STRICT * self.plan.alarms >= 1.0
        if (plain := alone & ~self.cyclic[one.columns]).any():  # "new label" says more than that another has less
            here = np.where(plain[:, None], here, 0.0)
        for spread in np.flatnonzero(self.squares[one.columns] > 0.0).tolist():
            column = one.columns.start + spread
            if alone[spread - 1] and self.restarts.by_level(column, float(self.squares[column])):
                here = np.where(np.arange(len(here))[:, None] == spread, 0.0, here)
        lead, one.bet = (int(i) for i in np.unravel_index(int(np.argmax(here)), here.shape))
        one.lead, one.back, one.state = one.columns.start + lead, 0.0, DriftState.DRIFTING
        one.since, n, apart, _ = self.restarts.since[:, one.lead, one.bet].tolist()
        one.since = one.since if one.chart is None else one.chart.seen_at(one.since)
        one.told = apart / max(n, 1e-9)
        self._silence(one)
        self.reference.forget(one.columns, all_of_it=False)

    def finding(self, one: WatchedField) -> DriftFinding:
        """What is found of one field now."""
        if one.state is DriftState.LEARNING:
            words = f"learning: {one.seen:,} of {self.plan.first:,} values"
            if not one.seen and one.missed:
                words = f"learning: no value in {one.missed:,} observations"
            return DriftFinding(one.field.name, one.state, n=one.seen, words=words)
        wealth = self.weights * self.restarts.wealth
        total, wealth = self._spent(one, wealth), wealth[one.columns]
        drifts = one.state is DriftState.DRIFTING
        at, bet = (int(i) for i in np.unravel_index(int(np.argmax(wealth)), wealth.shape))
        at, bet = (one.lead, one.bet) if drifts else (one.columns.start + at, bet)
        evidence = 1.0 if drifts else max(0.0, 1.0 + float(np.log(max(total, 1e-300))) / RANGE)
        return self._describe(one, at, bet, min(1.0, evidence))

    def _describe(self, one: WatchedField, at: int, bet: int, evidence: float) -> DriftFinding:
        channel, scorer = one.channels[at - one.columns.start], one.scorer
        means, _ = self._expected(self.reference.cell(self.start))
        since, n, apart, values = self.restarts.since[:, at, bet].tolist()
        detail = channel.detail if scorer is None else scorer.details.get(at - one.columns.start, channel.detail)
        unsure = float(self.reference.unsure[at]) if channel.limit is None else 0.0
        return describe_drift(
            Moved(
                one.field.name, one.state, channel.what, detail, channel.rate, float(means[at]),
                unsure, n, apart, values, float(self.dispersion.sizes()[at]),
                one.since if one.state is DriftState.DRIFTING else since, evidence,
                scorer.binned.before if isinstance(scorer, NumberScorer) else None, float(self.squares[at]),
            )
        )  # fmt: skip
