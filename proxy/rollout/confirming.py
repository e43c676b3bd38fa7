"""The two-person rule: a promotion by hand to 100 % counts once a second person asks for it, too."""

from __future__ import annotations

from dataclasses import replace

from proxy.rfc3339 import rfc3339
from proxy.rollout.events import Effects, Promote, Refuse, RolloutState, Save

NOBODY = {"asked_by": "", "asked_as": ""}
"""Fields of a rollout for which nobody has asked for 100 %."""


def confirmation(rollout: RolloutState, event: Promote) -> str | Refuse:
    """What a promotion to 100 % is for the rule: the reason to give for it when it counts, empty where it is the first
    word, a refusal where it is the first person's again.

    >>> from proxy.model import State
    >>> asked = RolloutState("r/c", "t", 0.0, State.CANARY, asked_by="token:ada", asked_until=100.0,
    ...                        asked_as="token:ada")
    >>> confirmation(asked, Promote(50.0, "token:bob", "me too", True, confirm_within=100.0))
    'me too; asked for by token:ada, confirmed by token:bob'
    >>> confirmation(asked, Promote(101.0, "token:bob", "me too", True, confirm_within=100.0))
    ''
    """
    if event.confirm_within is None:
        return event.reason or "by hand"
    if not rollout.asked_as or event.now > rollout.asked_until:
        return ""
    if _person(event) == rollout.asked_as:
        until = rfc3339(rollout.asked_until)
        return Refuse(f"{rollout.asked_by} has asked for this already: another person has to confirm it until {until}")
    return f"{event.reason or 'by hand'}; asked for by {rollout.asked_by}, confirmed by {event.actor}"


def asked(rollout: RolloutState, event: Promote) -> tuple[RolloutState, Effects]:
    """After the first word: it waits for the second, and that is told."""
    assert event.confirm_within is not None
    until = event.now + event.confirm_within
    after = replace(
        rollout, change=rollout.change + 1, asked_by=event.actor, asked_until=until, asked_as=_person(event)
    )
    why = f"{event.reason or 'by hand'}: asks for 100 %, which another person has to confirm until {rfc3339(until)}"
    return after, (Save("asked", why, event.actor, "rollout.stalled"),)


def _person(event: Promote) -> str:
    return event.person or event.actor
