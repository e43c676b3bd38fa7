"""From a judgement to a gate: pass, fail or inconclusive, the sentence that says why, and reports for a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from proxy.cli.judging import Judgement
from proxy.evidence.families.guard import Question
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Finding, Guard, Plan, Verdict
from proxy.predictions.unparseable import sentence

NO_TIMINGS = "no live timings"
NO_USERS = "it counts users, and recorded pairs do not say who they are"


@dataclass(frozen=True, slots=True)
class Gate:
    """The end of a judgement: `verdict`, a sentence, and what was left out: guards by their key and why, how many
    requests were `not_sent`, and why pairs were unparseable."""

    verdict: Verdict
    sentence: str
    judgement: Judgement
    left_out: Mapping[str, str] = field(default_factory=dict)
    not_sent: int = 0
    why_unparseable: str = ""


def gate(plan: Plan, judgement: Judgement, *, live_timed: bool = True, not_sent: int = 0) -> Gate:
    """Whether a candidate may go on. Without live timings, what is relative to them is left out; requests that
    were `not_sent` because redaction had left out their bodies are told of."""
    left_out = {} if live_timed else {one.key: NO_TIMINGS for one in plan.guards if _asks_live_time(plan, one)}
    left_out |= {guard.key: NO_USERS for guard in plan.guards if GUARDS[guard.name].by_users}
    findings = [f for f in judgement.assessment.findings if f.segment is None and f.key not in left_out]
    if judgement.verdict is Verdict.FAIL:
        verdict = Verdict.FAIL
    elif findings and all(finding.verdict is Verdict.PASS for finding in findings):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    unparseable = sentence(
        judgement.unparseable, judgement.booked.get("compared", 0), plan.aspects[0], judgement.unread
    )
    said = _sentence(verdict, findings, judgement) + _left_out_words(left_out) + _untold(not_sent)
    return Gate(verdict, said, judgement, left_out, not_sent, unparseable)


def _asks_live_time(plan: Plan, guard: Guard) -> bool:
    """Whether a guard compares with live's times, or with what live costs by its time."""
    kind = GUARDS[guard.name]
    paid_by_time = plan.live_price is not None and not plan.live_price.by_tokens
    return guard.relative and (kind.timed or (kind.priced and paid_by_time))


def _left_out_words(left_out: Mapping[str, str]) -> str:
    """Which guards were not judged, and why, in words.

    >>> _left_out_words({"max_outcome_drop": "no users"}), _left_out_words({})
    (' (max_outcome_drop not judged here: no users)', '')
    """
    return "".join(f" ({key} not judged here: {why})" for key, why in left_out.items())


def _untold(not_sent: int) -> str:
    """How many requests were not sent, in words.

    >>> _untold(0), _untold(1)
    ('', ' (1 request not sent: redaction left out its body)')
    """
    if not not_sent:
        return ""
    requests, bodies = ("request", "its body") if not_sent == 1 else ("requests", "their bodies")
    return f" ({not_sent} {requests} not sent: redaction left out {bodies})"


def _sentence(verdict: Verdict, findings: list[Finding], judgement: Judgement) -> str:
    good = []
    for question in Question:
        group = [finding for finding in findings if GUARDS[finding.guard].question is question]
        if group and all(finding.verdict is Verdict.PASS for finding in group):
            good.append(question.value)
    praise = " and ".join([", ".join(good[:-1]), good[-1]] if len(good) > 1 else good)
    if verdict is Verdict.PASS:
        return f"pass: {praise}, after {judgement.pairs} pairs"
    if verdict is Verdict.FAIL:
        said = [f.reason for f in findings if f.verdict is Verdict.FAIL]
        if judgement.tripped_at:
            said.append(f"many failures in a row by pair {judgement.tripped_at}")
        but = "; ".join(said) or ", ".join(judgement.assessment.causes)
        return f"fail: {praise}, but {but}" if praise else f"fail: {but}"
    said = [f.reason for f in findings if f.verdict is not Verdict.PASS]
    start = f"inconclusive after {judgement.pairs} pairs: "
    return start + (f"{praise}, but " if praise else "") + ("; ".join(said) or "no guard could be judged")


def report(name: str, result: Gate) -> dict[str, Any]:
    """The gate as JSON values."""
    judgement = result.judgement
    return {
        "rollout": name,
        "verdict": result.verdict.value,
        "sentence": result.sentence,
        "pairs": judgement.pairs,
        "failed_at": judgement.failed_at or None,
        "passed_at": judgement.passed_at or None,
        "tripped_at": judgement.tripped_at or None,
        "booked": dict(judgement.booked),
        "candidate_failures": dict(judgement.candidate_failures),
        "unparseable": dict(judgement.unparseable),
        "why_unparseable": result.why_unparseable or None,
        "response_mismatches": dict(judgement.response_mismatches),
        "cost": None if judgement.cost is None else dict(judgement.cost),
        "left_out": list(result.left_out),
        "not_sent": result.not_sent,
        "causes": list(judgement.assessment.causes),
        "findings": [{**asdict(f), "key": f.key, "verdict": f.verdict.value} for f in judgement.assessment.findings],
    }


def junit(name: str, result: Gate) -> str:
    """The gate as a JUnit report: one case per guard; inconclusive ones are skipped, and so is what was left out.

    The verdict is of the guards that crossed first. One that has crossed by itself since is no less beyond its limit.
    A verdict that no guard's case carries (failures in a row, or too little evidence) is a case of its own.
    """
    findings = [f for f in result.judgement.assessment.findings if f.segment is None]
    unfound = result.left_out.keys() - {finding.key for finding in findings}
    cases = [_case(name, f, result.left_out.get(f.key, "")) for f in findings]
    cases += [_element(name, key, _skipped(result.left_out[key])) for key in sorted(unfound)]
    failures = sum("<failure" in case for case in cases)
    if result.verdict is not Verdict.PASS and not failures:
        cases.append(_element(name, "verdict", f"<failure message={_quoted(result.sentence)}/>"))
        failures += 1
    skipped = sum("<skipped" in case for case in cases)
    numbers = f'tests="{len(cases)}" failures="{failures}" skipped="{skipped}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuite name={_quoted(name)} {numbers}>", *cases]
    return "\n".join([*lines, f"<system-out>{_escaped(result.sentence)}</system-out>", "</testsuite>", ""])


def _skipped(why: str) -> str:
    return f"<skipped message={_quoted(why)}/>"


def _case(name: str, finding: Finding, left_out: str) -> str:
    inside = ""
    if left_out:
        inside = _skipped(left_out)
    elif finding.verdict is Verdict.FAIL or (finding.verdict is Verdict.INCONCLUSIVE and finding.evidence >= 1.0):
        inside = f"<failure message={_quoted(finding.reason)}/>"
    elif finding.verdict is Verdict.INCONCLUSIVE:
        inside = _skipped(finding.reason)
    return _element(name, finding.key, inside)


def _element(name: str, case: str, inside: str) -> str:
    return f"<testcase classname={_quoted(name)} name={_quoted(case)}>{inside}</testcase>"


def _escaped(text: str) -> str:
    """Text for XML, without the control characters that XML has no way to write.

    >>> _escaped("a < b & c" + chr(7))
    'a &lt; b &amp; c'
    """
    kept = "".join(char for char in text if char >= " " or char in "\t\n\r")
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace('"', "&quot;").replace("\n", " ") + '"'
