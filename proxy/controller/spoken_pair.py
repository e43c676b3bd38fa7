"""What two language models said to one request, as the API shows it: texts put together, calls side by side.

It is worked out when a person opens a pair, in a thread, from bodies that are kept anyway: no decision waits for it.
"""

from __future__ import annotations

import math
from itertools import zip_longest

from proxy.controller.admin.pair_view import ArgumentJson, ComparedCallJson, SpokenArmJson, SpokenJson, TranscriptJson
from proxy.model import Outcome, Pair, PredictionSpec
from proxy.predictions.bounds import Bounds
from proxy.predictions.call_fields import CallField, ComparedCall, compared_calls
from proxy.predictions.calls import row_of_calls
from proxy.predictions.json_tools import parse_json
from proxy.predictions.language import Spoken, has_refused
from proxy.predictions.transcript import Transcript, transcript_of
from proxy.predictions.unreadable import Unreadable

MOST_TEXT, MOST_ASKED, MOST_VALUE = 32_000, 2000, 1000
"""Characters shown of a text, of the question, and of an argument of a call."""
MOST_CHOICES, MOST_CALLS, MOST_SOURCES = 8, 50, 50


def spoken_pair(pair: Pair, spec: PredictionSpec, bounds: Bounds, most_body: int) -> TranscriptJson:
    """Both arms' transcripts, and the calls of each choice side by side, as JSON values. Bodies longer than
    `most_body` bytes have been cut when they were kept."""
    live, candidate = (transcript_of(spec, pair, outcome, bounds) for outcome in (pair.live, pair.candidate))
    both = list(zip_longest(live.choices[:MOST_CHOICES], candidate.choices[:MOST_CHOICES]))
    return {
        "id": pair.id,
        "asked": _asked(pair.request_body, bounds)[:MOST_ASKED],
        "live": _arm(pair.live, live, most_body),
        "candidate": _arm(pair.candidate, candidate, most_body),
        "calls": [[_call(call) for call in _compared(*choices)] for choices in both],
    }


def _arm(outcome: Outcome, said: Transcript, most_body: int) -> SpokenArmJson:
    cut = len(outcome.body) >= most_body
    return {
        "choices": [_choice(choice) for choice in said.choices[:MOST_CHOICES]],
        "tokens": said.tokens or None,
        "first_seconds": None if math.isnan(outcome.first) else outcome.first,
        "whole": said.whole,
        "trouble": f"only its first {most_body // 1024} KiB are kept" if cut and not said.whole else said.trouble,
    }


def _asked(body: bytes, bounds: Bounds) -> str:
    """The last thing that the user said in a request; empty where it is none of a language model's."""
    try:
        request = parse_json(body, bounds=bounds)
    except Unreadable:  # one that was cut, for one
        return ""
    if type(request) is not dict:
        return ""
    said = next((request[key] for key in ("messages", "input", "prompt") if key in request), "")
    if type(said) is list:
        users = [one for one in said if type(one) is dict and one.get("role") == "user"]
        said = users[-1].get("content") if users else ""
    if type(said) is list:
        said = "".join(str(part["text"]) for part in said if type(part) is dict and type(part.get("text")) is str)
    return said if type(said) is str else ""


def _choice(choice: Spoken) -> SpokenJson:
    return {
        "text": choice.text[:MOST_TEXT],
        "text_length": len(choice.text),
        "reasoning": choice.reasoning[:MOST_TEXT],
        "refusal": choice.refusal[:MOST_TEXT],
        "refused": has_refused(choice),
        "finish": choice.finish,
        "sources": [source[:MOST_VALUE] for source in choice.sources[:MOST_SOURCES]],
    }


def _compared(live: Spoken | None, candidate: Spoken | None) -> list[ComparedCall]:
    try:
        rows = [row_of_calls(choice.calls) if choice is not None else () for choice in (live, candidate)]
    except Unreadable:  # nested too deep to be taken apart
        return []
    return compared_calls(*(row[:MOST_CALLS] for row in rows))


def _call(call: ComparedCall) -> ComparedCallJson:
    fields = [_argument(field) for field in call.fields]
    return {"name": call.name[:MOST_VALUE], "live": call.live, "candidate": call.candidate, "fields": fields}


def _argument(field: CallField) -> ArgumentJson:
    path, differs = field.path[:MOST_VALUE], field.live != field.candidate
    return {"path": path, "live": _cut(field.live), "candidate": _cut(field.candidate), "differs": differs}


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= MOST_VALUE else f"{value[:MOST_VALUE]}…"
