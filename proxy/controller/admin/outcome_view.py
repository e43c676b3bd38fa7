"""What the API shows of what users do later, and of what is posted of it."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from proxy.json_types import Whole


class ArmUsersJson(TypedDict):
    """What became of the users of one arm."""

    exposed: Whole
    counted: Whole
    with_value: Whole
    waiting: Whole
    switched: Whole
    outcomes: Whole
    late: Whole
    mean: float | None


class UsersJson(TypedDict):
    """Of a rollout whose guard counts users: what became of those of each arm, and of what was posted."""

    outcome: str
    within_seconds: float
    bound: float | None
    learning: Whole
    live: ArmUsersJson
    candidate: ArmUsersJson
    unknown: Whole
    unfit: Whole
    left_out: Whole
    lost: Whole
    share: float


class SampleRatioJson(TypedDict):
    """How many users or pairs are the candidate's."""

    candidate_pairs: Whole
    pairs: Whole
    of: Literal["pairs", "users"]
    expected: float
    log_bayes_factor: float


class RefusedLineJson(TypedDict):
    """A line that is no outcome, by its number from 1."""

    line: Whole
    problem: str


class PostedJson(TypedDict):
    """How many became what."""

    joined: Whole
    unknown: Whole
    early: NotRequired[Whole]
    late: NotRequired[Whole]
    left_out: NotRequired[Whole]
    unfit: NotRequired[Whole]
    ended: NotRequired[Whole]
    unasked: NotRequired[Whole]
    lines: NotRequired[Whole]
    """Lines read, where the body had one outcome a line."""
    refused: NotRequired[Whole]
    """Lines that are no outcome; the others were taken."""
    problems: NotRequired[list[RefusedLineJson]]
    """What is wrong with the first 100 of them, by number from 1."""
