"""What a rollout looks like from outside: the JSON of the API, of `status --json` and of a webhook's `data`.

Weights are in percent here, shares and limits are ratios, times RFC 3339. Pure functions of a `RolloutRun`.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import orjson

from proxy.config.words import limit
from proxy.controller.admin.cost_view import (
    ForecastJson,
    IdleBudgetJson,
    MoneyBudgetJson,
    PairBudgetJson,
    TokenBudgetJson,
)
from proxy.controller.admin.deciding import deciding
from proxy.controller.admin.event_view import ReplacedJson, RolloutEventJson
from proxy.controller.admin.outcome_view import SampleRatioJson
from proxy.controller.admin.registry_view import LineageJson
from proxy.controller.admin.rollout_view import (
    FindingJson,
    FindingsJson,
    LeadTimeJson,
    LedgerJson,
    RolloutJson,
    StageJson,
    TrialJson,
)
from proxy.controller.charts import unit
from proxy.controller.judging.shown import judges_json, similarities_json
from proxy.controller.judging_cost import judging_each
from proxy.controller.rollout_outcomes import users_json
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Saved
from proxy.evidence.input.costs import CostJson, cost_figures
from proxy.evidence.rules.registry import GUARDS
from proxy.evidence.words import title
from proxy.model import BUCKETS, Finding, Guard, Ledger, Plan, State, Verdict
from proxy.money import MoneyBudget
from proxy.rfc3339 import rfc3339
from proxy.rollout.events import RolloutState, Save
from proxy.rollout.forecast import stage_forecast
from proxy.rollout.requirements import needs, stage_name, waiting_for


def finding_json(finding: Finding, units: Mapping[str, str]) -> FindingJson:
    """A finding as JSON values, with its guard's title and unit; what is not a finite number is `null`. `of` is what
    its `pairs` are."""
    return {
        "guard": finding.guard,
        "aspect": finding.aspect,
        "key": finding.key,
        "title": title(Guard(finding.guard, finding.limit, aspect=finding.aspect)),
        "segment": finding.segment,
        "verdict": finding.verdict,
        "value": _finite(finding.value),
        "low": _finite(finding.low),
        "high": _finite(finding.high),
        "limit": _finite(finding.limit),
        "unit": units.get(finding.key, "number"),
        "evidence": finding.evidence,
        "pairs": finding.pairs,
        "of": GUARDS[finding.guard].counts if finding.guard in GUARDS else "pairs",
        "eta_seconds": _finite(finding.eta_seconds),
        "reason": finding.reason,
        "burst_size": finding.burst_size,
        "value_with_repeats": _finite(finding.value_with_repeats),
        "pairs_with_repeats": finding.pairs_with_repeats,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def ledger_json(ledger: Ledger) -> LedgerJson:
    """A ledger with what is pending."""
    return {**asdict(ledger), "pending": ledger.pending}


def stage_json(trial: RolloutRun) -> StageJson:
    """The stage of a rollout and what it waits for; `needs` is empty where it climbs no more."""
    rollout, plan = trial.rollout, trial.plan
    name = stage_name(rollout, plan)
    climbing = rollout.state in (State.SHADOW, State.CANARY)
    return {
        "index": len(plan.stages) if name == "promoted" else min(rollout.stage, len(plan.stages) - 1),
        "name": name,
        "entered_at": rfc3339(rollout.entered_at),
        "waiting_for": waiting_for(rollout, plan, trial.looked) + _spared(trial),
        "forecast": forecast_json(trial) if climbing else None,
        "needs": [asdict(need) for need in needs(rollout, trial.looked, plan)] if climbing and trial.looked else [],
    }


def _spared(trial: RolloutRun) -> str:
    """Why fewer requests become pairs than the stage says, as a sentence; empty where it is not for want of need."""
    budget = trial.budget
    if trial.rollout.over or not budget.idle or budget.told_idle >= BUCKETS:
        return ""
    share = f"{budget.told_idle / BUCKETS:.2g}"
    return f" Meanwhile {share} of its pairs are made (`idle_pairs_per_second`): {budget.idle}."


def forecast_json(trial: RolloutRun) -> ForecastJson | None:
    """What the stage's verdict still takes, and in words; `null` where that cannot be said."""
    if trial.looked is None:
        return None
    judging = judging_each(trial.judging, trial.plan)
    found = stage_forecast(trial.rollout, trial.looked, trial.plan, trial.evidence.costs.each, judging)
    if found is None:
        return None
    text = found.words(trial.plan.currency)
    return {"pairs": found.pairs, "seconds": found.seconds, "cost": found.cost, "judging": found.judging, "text": text}


def ended_json(trial: RolloutRun) -> FindingsJson:
    """The decision, as it is shown from the end of the rollout on."""
    verdict, findings = _looked_json(trial)
    return {"verdict": verdict, "findings": findings}


def known_json(trial: RolloutRun) -> tuple[Verdict, list[FindingJson], LedgerJson]:
    """Verdict and findings of the last look, of a rollout that has ended those of its end; and the ledger now.

    After the end the ledger goes on until nothing is pending: what was under way is booked as what becomes of it.
    """
    ended, ledger = trial.pair_ledger.ended if trial.rollout.over else None, ledger_json(trial.ledger)
    if ended is not None:
        # those that an earlier version saved know of no aspects and no users
        earlier = ({"aspect": "", "key": one["guard"], "of": "pairs", **one} for one in ended["findings"])
        findings = [cast(FindingJson, one) for one in earlier]
        return Verdict(ended["verdict"]), findings, ledger
    return *_looked_json(trial), ledger


def _looked_json(trial: RolloutRun) -> tuple[Verdict, list[FindingJson]]:
    """The verdict and the findings of the last look."""
    if trial.looked is None:
        return Verdict.INCONCLUSIVE, []
    assessment, units = trial.looked.assessment, {guard.key: unit(guard) for guard in trial.plan.guards}
    return assessment.verdict, [finding_json(finding, units) for finding in assessment.findings]


def rollout_json(trial: RolloutRun, owner: str | None = None) -> RolloutJson:
    """One rollout, whole; `owner` answers for its route."""
    rollout, plan = trial.rollout, trial.plan
    verdict, findings, ledger = known_json(trial)
    return {
        "name": plan.name,
        "route": plan.route,
        "owner": owner,
        "live": plan.live,
        "candidate": plan.candidate,
        "version": plan.version,
        "lineage": lineage_json(plan),
        "state": rollout.state,
        "since": rfc3339(rollout.since),
        "paused": rollout.paused,
        "held": rollout.held,
        "stalled": rollout.stalled,
        "blocked_by": rollout.blocked_by,
        "asked": {"by": rollout.asked_by, "until": rfc3339(rollout.asked_until)} if rollout.asked_by else None,
        "stage": stage_json(trial),
        "stages": [stage.name for stage in plan.stages],
        "weight": rollout.weight / 100,
        "verdict": verdict,
        "kind": trial.evidence.kind,
        "kinds": {name: kind for name, kind in trial.evidence.kinds.items() if name},
        "guards": {guard.key: limit(guard) for guard in plan.guards},
        "findings": findings,
        "ledger": ledger,
        "outcomes": trial.pair_ledger.outcomes.shown(),
        "labels": trial.labels,
        "users": users_json(trial),
        "sample_ratio": sample_ratio_json(trial),
        "repeats": trial.evidence.repeats,
        "candidate_failures": trial.evidence.candidate_failures,
        "unparseable": trial.pair_ledger.unparseable,
        "why_unparseable": trial.why_unparseable or None,
        "response_mismatches": trial.evidence.response_mismatches,
        "began_at": rfc3339(rollout.began_at),
        "cause": rollout.cause or None,
        "reason": rollout.reason or None,
        "lead_time": lead_json(trial),
        "protocol": trial.protocol or None,
        "token_pairs": dict(trial.token_pairs),
        "token_budget": budget_json(trial),
        "cost": arm_costs_json(trial),
        "cost_budget": cost_budget_json(trial),
        "idle_budget": idle_json(trial),
        "pair_budget": pace_json(trial),
        "judges": judges_json(trial.judging, plan.currency),
        "similarities": similarities_json(trial.judging, plan.currency),
        "record": trial.recorder.state() if trial.recorder is not None else None,
    }


def trial_json(saved: Saved) -> TrialJson:
    """One earlier trial: how it had come when another one took its place."""
    rollout, ledger = saved.rollout, saved.ledger.get("ended") or {}
    return {
        "trial": rollout.trial,
        "version": saved.plan.version,
        "live": saved.plan.live,
        "state": rollout.state,
        "began_at": rfc3339(rollout.began_at),
        "since": rfc3339(rollout.since),
        "stage": stage_name(rollout, saved.plan),
        "cause": rollout.cause or None,
        "reason": rollout.reason or None,
        "verdict": ledger.get("verdict"),
    }


def budget_json(trial: RolloutRun) -> TokenBudgetJson | None:
    """Tokens per minute that copies may cost, what they cost in the last one and since this controller started, and the
    share of the stage's pairs that this affords now; `null` without `mirror.max_tokens_per_minute`."""
    tokens = trial.budget.tokens
    if tokens.most is None:
        return None
    last, share = round(tokens.spending.in_period), trial.budget.affords / BUCKETS
    return {"limit": round(tokens.most), "last_minute": last, "total": round(tokens.total), "share": share}


def cost_budget_json(trial: RolloutRun) -> MoneyBudgetJson | None:
    """Money that copies may cost in each period, what they cost in the last one and since this controller started, and
    the share of the stage's pairs that this affords now; `null` without `mirror.max_cost`."""
    money = trial.budget.money
    if money.most is None:
        return None
    return {
        "limit": str(MoneyBudget(money.most, money.period)),
        "amount": money.most,
        "period_seconds": money.period,
        "in_period": money.spending.in_period,
        "total": money.total,
        "share": money.affords / BUCKETS,
    }


def arm_costs_json(trial: RolloutRun) -> CostJson | None:
    """What the answers of each arm cost, and the copies of this trial; `null` where an arm has no price."""
    return cost_figures(trial.plan, trial.evidence.costs)


def pace_json(trial: RolloutRun) -> PairBudgetJson | None:
    """How many pairs a second there may be, a number or `auto`, and the share of the stage's pairs that this affords
    now; `null` without `mirror.max_pairs_per_second`."""
    if trial.budget.pair_limit is None:
        return None
    return {"limit": trial.budget.pair_limit, "share": trial.budget.told_pairs / BUCKETS}


def idle_json(trial: RolloutRun) -> IdleBudgetJson | None:
    """Why no guard needs more pairs, how many there may be a second, and the share of the stage's pairs that this is;
    `null` while a guard needs them, with `mirror.idle_pairs_per_second: all`, and once no pairs are made any more."""
    budget = trial.budget
    if trial.rollout.over or not budget.idle or budget.idle_limit is None:
        return None
    return {"limit": budget.idle_limit, "share": budget.told_idle / BUCKETS, "reason": budget.idle}


def sample_ratio_json(trial: RolloutRun) -> SampleRatioJson | None:
    """Whether the candidate has its share of the stage's users, or where nobody counts them of its pairs; `null`
    outside canary.

    `log_bayes_factor` above 3 (20 to 1) says that it has not. Pairs of users that come again are no independent draws:
    with sticky keys a few heavy users can do that too.
    """
    found = trial.sample_ratio
    if found is None:
        return None
    return {
        "candidate_pairs": found.candidate,
        "pairs": found.total,
        "of": found.what,
        "expected": found.expected,
        "log_bayes_factor": found.log_bayes_factor,
    }


def lead_seconds(trial: RolloutRun) -> float | None:
    """Seconds from the candidate's sign-off to the first answer served at weight 100; `None` until then."""
    signed, first = trial.plan.signed_off_at, trial.pair_ledger.first_full
    return None if signed is None or first is None else first - signed


def lead_json(trial: RolloutRun) -> LeadTimeJson | None:
    """Lead time and whether it kept to `lead_time_slo` (`null`: none is set); `null` while it is not known."""
    seconds, slo = lead_seconds(trial), trial.plan.lead_time_slo
    if seconds is None:
        return None
    return {"seconds": seconds, "slo_seconds": slo, "within_slo": None if slo is None else seconds <= slo}


def lineage_json(plan: Plan) -> LineageJson | None:
    """Where the version comes from, as a model registry says it; `null` where the file named it."""
    return None if plan.lineage is None else asdict(plan.lineage)


def _replaced_json(save: Save, before: RolloutState) -> ReplacedJson | None:
    """The trial in whose place another one begins; `null` where there was none."""
    plan = save.replaces
    if plan is None:
        return None
    return {"version": plan.version, "state": before.state, "lineage": lineage_json(plan)}


def event_data(
    trial: RolloutRun, before: RolloutState, rollout: RolloutState, save: Save, console_url: str, replica: str
) -> RolloutEventJson:
    """The `data` of a webhook; `rollout` is the trial's state after the change that it tells of, `replica` who leads,
    empty where there is no fleet. Of the findings those alone are told that the verdict rests on."""
    plan = trial.plan
    verdict, findings, ledger = known_json(trial)
    return {
        "rollout": plan.name,
        "route": plan.route,
        "live": plan.live,
        "candidate": plan.candidate,
        "version": plan.version,
        "lineage": lineage_json(plan),
        "replaces": _replaced_json(save, before),
        "state": rollout.state,
        "stage": stage_name(rollout, plan),
        "weight": rollout.weight / 100,
        "verdict": verdict,
        "reason": save.reason,
        "actor": save.actor,
        "findings": deciding(verdict, findings),
        "ledger": ledger,
        "cost": arm_costs_json(trial),
        "replica": replica or socket.gethostname(),
        "console_url": console_url,
    }


def journal_detail(trial: RolloutRun, before: RolloutState, after: RolloutState, config_hash: str) -> dict[str, Any]:
    """A journal entry's inputs: with the evidence beside it, all that is needed to judge again."""
    evidence = trial.evidence
    verdict, findings = _looked_json(trial)
    return {
        "trial": after.trial,
        "change": after.change,
        "from": {"state": before.state.value, "stage": before.stage, "weight": before.weight / 100},
        "to": {"state": after.state.value, "stage": after.stage, "weight": after.weight / 100, "cause": after.cause},
        "verdict": verdict,
        "causes": list(trial.looked.assessment.causes) if trial.looked else [],
        "findings": findings,
        "cost": arm_costs_json(trial),
        "stage_pairs": evidence.stage_pairs,
        "stage_candidate_pairs": evidence.stage_candidate_pairs,
        "state_hash": evidence.state_hash,
        "limits_hash": evidence.limits_hash,
        "config_hash": config_hash,
        "plan": orjson.loads(orjson.dumps(trial.plan)),
    }
