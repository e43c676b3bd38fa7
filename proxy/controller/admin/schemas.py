"""What the API says and takes, as JSON Schema: the components of its description (`openapi`)."""

from __future__ import annotations

from proxy.controller.admin.caller_schemas import CALLER, HAND, PROBLEM, PROMOTION
from proxy.controller.admin.cost_schemas import BUDGET, COST, FORECAST, IDLE, MONEY, PACE
from proxy.controller.admin.drift_schemas import DRIFT_SCHEMAS
from proxy.controller.admin.event_schemas import ROLLOUT_EVENT
from proxy.controller.admin.interface import PARTS
from proxy.controller.admin.outcome_schemas import OF_USERS, SAMPLE_RATIO, USERS_OR_NONE
from proxy.controller.admin.process_schemas import CONFIG, FLEET, PROCESSES
from proxy.controller.admin.registry_schemas import HOOK_RESULT, LINEAGE, REGISTRY
from proxy.controller.admin.schema_words import (
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    Schema,
    component,
    list_of,
    nullable,
    object_of,
)
from proxy.model import Kind, Mismatch, State, Verdict

# --- what is said ----------------------------------------------------------------------------------------------------

FINDING = object_of(
    {
        "guard": TEXT,
        "aspect": TEXT | {"description": "The prediction that it judges, where there are several."},
        "key": TEXT | {"description": "Guard and aspect: what `guards`, `units` and `causes` call it."},
        "title": TEXT | {"description": "What the guard measures, in words."},
        "segment": nullable(TEXT),
        "verdict": {"enum": [*Verdict]},
        "value": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "limit": NUMBER,
        "unit": {
            "enum": ["percent", "points", "times", "seconds", "number"],
            "description": "Of value, low, high and limit; `points` are percentage points.",
        },
        "evidence": {"type": "number", "description": "Share of what is needed to fail; 1 is decided."},
        "pairs": WHOLE | {"description": "Pairs that it is over; users where `of` says so."},
        "of": {"enum": ["pairs", "users"]},
        "eta_seconds": NUMBER,
        "reason": TEXT,
        "burst_size": {
            "type": "number",
            "minimum": 1,
            "description": "Size of the bursts of differences; evidence to fail is divided by it.",
        },
        "value_with_repeats": NUMBER | {"description": "`value` over all pairs, those with a body just seen included."},
        "pairs_with_repeats": WHOLE,
    }
)
NEED = object_of(
    {
        "what": {"enum": ["ready", "pairs", "candidate_pairs", "seconds", "guards"]},
        "have": {"type": "number", "minimum": 0},
        "want": {"type": "number", "minimum": 0},
    }
)
ADDRESS = object_of(
    {"address": TEXT, "workers": WHOLE, "up": WHOLE, "requests": WHOLE, "errors": WHOLE, "ejections": WHOLE}
)
STAGE = object_of(
    {
        "index": WHOLE,
        "name": TEXT,
        "entered_at": MOMENT,
        "waiting_for": TEXT,
        "forecast": nullable(FORECAST)
        | {"description": "What its verdict still takes if what was seen goes on, and what copies and judges cost."},
        "needs": list_of(NEED),
    }
)
LEAD = object_of({"seconds": {"type": "number"}, "slo_seconds": NUMBER, "within_slo": nullable({"type": "boolean"})})
OUTCOMES = object_of(
    {
        "joined": WHOLE,
        "live_loss": {"type": "number"},
        "candidate_loss": {"type": "number"},
        "drop": object_of({"value": {"type": "number"}, "low": NUMBER, "high": NUMBER}),
    }
)
LABELS = object_of({"counted": WHOLE, "unlabelled": WHOLE, "left_out": WHOLE, "waiting": WHOLE})
RECORD = object_of({"path": TEXT, "written": WHOLE, "dropped": WHOLE, "error": nullable(TEXT)})
_OF_ANCHORS = ("rounds", "base_rounds", "held", "answers", "constant", "agreed", "first", "longer")
_ANCHORS = {"enum": ["learning", "unchanged", "in_doubt", "changed", "unfit"]}
ANCHORS = object_of({"state": _ANCHORS, "evidence": NUMBER, **dict.fromkeys(_OF_ANCHORS, WHOLE)})
FIRST_RATE = object_of({"rate": NUMBER, "low": NUMBER, "high": NUMBER, "verdicts": WHOLE})
JUDGE_COST = object_of({"spent": NUMBER, "limit": nullable(TEXT), "total": NUMBER, "counted": WHOLE})
JUDGED = object_of(
    {
        "aspect": TEXT,
        "judge": TEXT,
        "model": TEXT,
        "share": {"type": "number", "description": "Of the pairs."},
        "verdicts": object_of({"win": WHOLE, "tie": WHOLE, "loss": WHOLE}) | {"description": "Since the start."},
        **dict.fromkeys(("failed", "same", "repeats", "waiting", "cache_hits"), WHOLE),
        "not_judged": {"type": "object", "additionalProperties": WHOLE, "description": "Drawn pairs, by reason."},
        "last_not_judged": nullable(TEXT),
        "down": {"type": "boolean", "description": "Its last five questions had no verdict."},
        "first": FIRST_RATE | {"description": "Verdicts, ties aside, for the answer that stood first."},
        "cost": JUDGE_COST,
        "anchors": nullable(ANCHORS),
    }
)
SEEN_VERDICT = object_of(
    {
        "aspect": TEXT,
        "judge": TEXT,
        "verdict": nullable({"enum": ["win", "tie", "loss"], "description": "On the candidate's answer."}),
        "reason": TEXT,
        "order": nullable({"enum": ["live first", "candidate first"]}),
        "not_judged": nullable(TEXT),
    }
)
ROLLOUT = object_of(
    {
        "name": TEXT,
        "route": TEXT,
        "owner": nullable(TEXT) | {"description": "Who answers for the route."},
        "live": TEXT,
        "candidate": TEXT,
        "version": TEXT,
        "lineage": LINEAGE,
        "state": {"enum": [*State]},
        "since": MOMENT | {"description": "When this state, or its stage, began; of an ended one when it ended."},
        "paused": {"type": "boolean"},
        "asked": nullable(object_of({"by": TEXT, "until": MOMENT})),
        "held": {"type": "boolean", "description": "The stage passed, and waits for a person."},
        "stalled": {"type": "boolean", "description": "The stage's `max_time` ran out, and it waits for a person."},
        "blocked_by": nullable(TEXT),
        "stage": component("Stage"),
        "stages": list_of(TEXT),
        "weight": {"type": "number", "minimum": 0, "maximum": 100, "description": "Percent."},
        "verdict": {"enum": [*Verdict]},
        "kind": {"enum": [*Kind], "description": "Of predictions; `auto` until live's first answers are known."},
        "kinds": {
            "type": "object",
            "additionalProperties": {"enum": [*Kind]},
            "description": "Of several predictions, by name; `kind` is that of the first.",
        },
        "guards": {
            "type": "object",
            "additionalProperties": TEXT,
            "description": "The limits, by guard, as the file says them.",
        },
        "findings": list_of(component("Finding")),
        "ledger": component("Ledger"),
        "outcomes": nullable(OUTCOMES) | {"description": "By delayed labels, where `max_quality_drop` has no limit."},
        "labels": nullable(LABELS)
        | {
            "description": "Requests whose `label_delay` has passed, with (`counted`) and without a later truth, those "
            "left out for memory, and truths that wait for that time; null before the first truth."
        },
        "repeats": WHOLE,
        "candidate_failures": {"type": "object", "additionalProperties": WHOLE},
        "unparseable": {"type": "object", "additionalProperties": WHOLE, "description": "Pairs, by the reason word."},
        "why_unparseable": nullable(TEXT) | {"description": "The same in words, with the key to check."},
        "response_mismatches": object_of(
            {word.value: WHOLE for word in Mismatch if word},
            required=(),
            additionalProperties=False,
            description="Pairs whose responses differ in form, by difference.",
        ),
        "began_at": MOMENT,
        "cause": nullable(TEXT) | {"description": "The word for its last end."},
        "reason": nullable(TEXT) | {"description": "Why it ended so."},
        "lead_time": nullable(LEAD) | {"description": "Once it is known: sign-off to the first answer at weight 100."},
        "protocol": nullable(TEXT) | {"description": "By which answers are read, once one could be."},
        "users": USERS_OR_NONE,
        "sample_ratio": nullable(SAMPLE_RATIO)
        | {
            "description": "Whether the candidate has its share of users, or of pairs where nobody counts users: "
            "pairs of users that come again are no independent draws."
        },
        "token_pairs": object_of({"usage": WHOLE, "events": WHOLE})
        | {
            "description": "Pairs by what the tokens of `time_per_token` were counted by, since the controller's start."
        },
        "token_budget": nullable(BUDGET)
        | {"description": "Tokens of copies; `share` of the stage's pairs it affords."},
        "cost": nullable(COST)
        | {
            "description": "What each arm's answers cost, over `pairs` that both answered (tokens were estimated in "
            "`counted`), and what copies did; null where an arm has no `price`."
        },
        "cost_budget": nullable(MONEY)
        | {"description": "Money that copies may cost (`mirror.max_cost`); `share` of the stage's pairs it affords."},
        "idle_budget": nullable(IDLE) | {"description": "While no guard needs more pairs: why, and the `share` made."},
        "pair_budget": nullable(PACE) | {"description": "Pairs a second; `share` of the stage's pairs it affords."},
        "similarities": list_of({"type": "object"}) | {"description": "Predictions that are compared by embeddings."},
        "judges": list_of(JUDGED) | {"description": "Each judged prediction, with its judge."},
        "record": nullable(RECORD) | {"description": "The file of pairs, where one is written."},
    }
)
TRIAL = object_of(
    {
        "trial": TEXT,
        "version": TEXT,
        "live": TEXT,
        "state": {"enum": [*State]},
        "began_at": MOMENT,
        "since": MOMENT,
        "stage": TEXT,
        "cause": nullable(TEXT),
        "reason": nullable(TEXT),
        "verdict": nullable(TEXT),
    },
    description="A trial as it was when another one took its place; since when it was in that state.",
)
ENTRY = object_of(
    {
        "number": WHOLE,
        "time": {"type": "number", "description": "Epoch seconds."},
        "kind": TEXT,
        "actor": TEXT,
        "hash": TEXT,
        "reason": TEXT,
        "detail": {"type": "object", "description": "What it was decided on, the evidence aside."},
        "evidence_bytes": WHOLE,
    }
)
ASKED = object_of({"method": TEXT, "path": TEXT, "body": TEXT})
ANSWERED = object_of(
    {
        "status": WHOLE,
        "reason": nullable(TEXT),
        "seconds": NUMBER,
        "body": TEXT,
        "prediction": nullable(list_of({})),
    }
)
READ_ASPECT = object_of(
    {
        "name": TEXT,
        "difference": {"type": "number"},
        "live": nullable(list_of({})),
        "candidate": nullable(list_of({})),
        "detail": TEXT,
    }
)
SEEN_PAIR = object_of(
    {
        "id": {"type": "string", "description": "The pair's own; no other has it."},
        "request_id": {
            "type": "string",
            "description": "By which the caller knows the request; it may repeat its ids.",
        },
        "time": MOMENT,
        "served": {"enum": ["live", "candidate"]},
        "difference": {
            "type": "number",
            "description": "0 to 1, 1 for a mismatch, 0.1 where of several predictions only texts differ; 2 when the"
            " candidate failed.",
        },
        "fault": nullable(TEXT),
        "live_fault": nullable(TEXT),
        "mismatch": nullable({"enum": [word.value for word in Mismatch if word]}),
        "detail": TEXT,
        "segment": nullable(TEXT),
        "request": ASKED,
        "live": ANSWERED,
        "candidate": ANSWERED,
        "aspects": list_of(READ_ASPECT) | {"description": "What was read as each of several predictions."},
        "judged": list_of(SEEN_VERDICT) | {"description": "What judges said of it, where it was drawn."},
        "transcript": {"type": "boolean", "description": "Whether `…/pairs/{pair}/transcript` has what was said."},
    }
)
SPOKEN = object_of(
    {
        "text": TEXT,
        "text_length": WHOLE | {"description": "Characters of the whole text, of which `text` has the first."},
        "reasoning": TEXT,
        "refusal": TEXT,
        "refused": {"type": "boolean"},
        "finish": nullable(TEXT),
        "sources": list_of(TEXT),
    }
)
SPOKEN_ARM = object_of(
    {
        "choices": list_of(SPOKEN),
        "tokens": nullable(WHOLE),
        "first_seconds": NUMBER,
        "whole": {"type": "boolean"},
        "trouble": {"type": "string", "description": "Why it is not whole."},
    }
)
COMPARED_CALL = object_of(
    {
        "name": TEXT,
        "live": {"type": "boolean", "description": "Whether live makes this call."},
        "candidate": {"type": "boolean"},
        "fields": list_of(
            object_of(
                {"path": TEXT, "live": nullable(TEXT), "candidate": nullable(TEXT), "differs": {"type": "boolean"}}
            )
        )
        | {"description": "Its arguments by JSON pointer, as JSON, those that differ first."},
    }
)
TRANSCRIPT = object_of(
    {
        "id": TEXT,
        "asked": {"type": "string", "description": "The last thing that the user said."},
        "live": SPOKEN_ARM,
        "candidate": SPOKEN_ARM,
        "calls": list_of(list_of(COMPARED_CALL)) | {"description": "Of each choice, calls that belong together."},
    }
)
ENDPOINT = object_of(
    {
        "url": TEXT,
        "events": list_of(TEXT),
        "template": TEXT,
        "signed": {"type": "boolean"},
        "ended": {"type": "boolean", "description": "It answered 410."},
        "deliveries": {"type": "object", "additionalProperties": WHOLE, "description": "How many, by state."},
        "failures_in_a_row": WHOLE,
        "last_attempt": nullable(MOMENT),
        "last_answer": nullable(TEXT),
        "held_until": nullable(MOMENT),
    }
)
ARM_FIGURES = object_of({"first_seconds": NUMBER, "tokens": NUMBER, "refusals": NUMBER})
CHARTS = object_of(
    {
        "pairs": WHOLE,
        "window": WHOLE,
        "units": {"type": "object", "additionalProperties": TEXT},
        "titles": {"type": "object", "additionalProperties": TEXT},
        "latency": nullable({"type": "object"}),
        "predictions": nullable({"type": "object"}),
        "aspects": {
            "type": "object",
            "additionalProperties": nullable({"type": "object"}),
            "description": "Of several predictions, by name, what `predictions` is of the only one.",
        },
        "arms": nullable(
            object_of(
                {"pairs": WHOLE, "events": {"type": "boolean"}, "live": ARM_FIGURES, "candidate": ARM_FIGURES},
                description="Language models: median time to the first token, mean tokens (of streams; `events`: some"
                " are counted as events), share of refusals, over the recent pairs.",
            )
        ),
        "history": {"type": "object"},
    }
)
_GIVEN: dict[str, Schema] = {
    "label": {"type": ["string", "integer", "boolean"]},
    "value": {"type": "number"},
    "reward": {"type": "number"},
}
OUTCOME: Schema = {
    "oneOf": [
        object_of({"id": {"type": "string", "minLength": 1, "maxLength": 128}, name: kind}, additionalProperties=False)
        for name, kind in _GIVEN.items()
    ]
    + OF_USERS
}

GATE = object_of(
    {"verdict": {"enum": [*Verdict]}, "reason": TEXT, "name": TEXT, "version": TEXT, "state": {"enum": [*State]}}
    | {"weight": {"type": "number"}, "stage": TEXT, "findings": list_of(component("Finding"))}
)

SCHEMAS = {
    "Rollout": ROLLOUT,
    "Stage": STAGE,
    "Finding": FINDING,
    "Ledger": object_of({part: {"type": "integer"} for part in ("sampled", *PARTS, "pending")}),
    "Pair": SEEN_PAIR,
    "Transcript": TRANSCRIPT,
    "Entry": ENTRY,
    "Trial": TRIAL,
    "Endpoint": ENDPOINT,
    "Charts": CHARTS,
    "Processes": PROCESSES,
    "Config": CONFIG,
    "Fleet": FLEET,
    "HandAction": HAND,
    "Promotion": PROMOTION,
    "Outcome": OUTCOME,
    "Caller": CALLER,
    **DRIFT_SCHEMAS,
    "HookResult": HOOK_RESULT,
    "Registry": REGISTRY,
    "Problem": PROBLEM,
    "Gate": GATE,
    "Cost": COST,
    "RolloutEvent": ROLLOUT_EVENT,
}

# --- where -----------------------------------------------------------------------------------------------------------
