"""Real models that differ in a known way: which guard says what, after how many pairs. Writes docs/real-cases.md.

    python loadtests/real_cases.py

Models and data are scikit-learn's own (bundled; nothing is downloaded). Requests are rows of the held-out half, drawn
with replacement and given measurement noise of 2 % of each feature's standard deviation, so that no two bodies are the
same (a repeated body is no evidence). Live and candidate answer the same request. No model server and no network: this
is about what the comparator concludes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from proxy.evidence import Evidence
from proxy.model import Arm, Assessment, Guard, Kind, Plan, Prediction, PredictionSpec, Reading, Stage, State, Verdict
from proxy.model.reasons import Reason

OUT = Path(__file__).parents[1] / "docs" / "real-cases.md"
PAIRS, LOOK = 20_000, 100

LABEL_GUARDS = (Guard("max_disagreement", 0.05),)
SCORE_GUARDS = (
    Guard("max_mean_shift", 0.02),
    Guard("max_ks", 0.05),
    Guard("max_psi", 0.2),
    Guard("max_big_change", 0.02, tolerance=0.3),
)
NUMBER_GUARDS = (
    Guard("max_mean_shift", 0.1),
    Guard("max_ks", 0.1),
    Guard("max_spread_change", 0.1),
    Guard("max_big_change", 0.05, relative=True, tolerance=1.0),  # 1 iqr
)

Answers = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Case:
    """One candidate against one live model: what was done to it, and what each answers to a matrix of rows."""

    what: str
    kind: Kind
    guards: tuple[Guard, ...]
    rows: np.ndarray
    live: Answers
    candidate: Answers


def digits() -> list[Case]:
    """Labels: logistic regression on digits against a candidate that never saw a nine, and against itself again."""
    data = load_digits()
    x, rest, y, _ = train_test_split(data.data, data.target, test_size=0.5, random_state=0)

    def trained(model: Any, keep: np.ndarray | None = None) -> Answers:
        chosen = np.ones(len(y), bool) if keep is None else keep
        model.fit(x[chosen], y[chosen])
        return lambda rows: model.predict(rows).tolist()

    live = trained(RandomForestClassifier(200, random_state=0))
    again = trained(RandomForestClassifier(200, random_state=1))
    no_nine = trained(RandomForestClassifier(200, random_state=0), y != 9)
    return [
        Case("digits, forest: the same model retrained with another seed", Kind.LABEL, LABEL_GUARDS, rest, live, again),
        Case("digits, forest: the class 9 was missing from training", Kind.LABEL, LABEL_GUARDS, rest, live, no_nine),
    ]


def cancer() -> list[Case]:
    """Scores: P(benign) of a logistic regression, with a unit changed, weights quantised, and features unscaled."""
    data = load_breast_cancer()
    x, rest, y, _ = train_test_split(data.data, data.target, test_size=0.5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, y)
    scaler, model = pipeline[0], pipeline[1]

    def score(rows: np.ndarray, weights: np.ndarray) -> list[float]:
        margin = scaler.transform(rows) @ weights + model.intercept_[0]
        return (1.0 / (1.0 + np.exp(-margin))).tolist()

    def quantised(bits: int) -> np.ndarray:
        step = np.abs(model.coef_[0]).max() / (2 ** (bits - 1) - 1)
        return np.round(model.coef_[0] / step) * step

    def in_other_unit(rows: np.ndarray) -> np.ndarray:
        changed = rows.copy()
        changed[:, 20] *= 0.1  # worst radius, sent in centimetres instead of millimetres
        return changed

    def live(rows: np.ndarray) -> list[float]:
        return score(rows, model.coef_[0])

    def case(what: str, candidate: Answers) -> Case:
        return Case(what, Kind.SCORE, SCORE_GUARDS, rest, live, candidate)

    return [
        case("cancer, logistic: weights quantised to 8 bits", lambda rows: score(rows, quantised(8))),
        case("cancer, logistic: weights quantised to 3 bits", lambda rows: score(rows, quantised(3))),
        case("cancer, logistic: one feature's unit changed", lambda rows: score(in_other_unit(rows), model.coef_[0])),
    ]


def diabetes() -> list[Case]:
    """Numbers: a forest's regression, retrained with another seed, and trained on a target with a lost tail."""
    data = load_diabetes()
    x, rest, y, _ = train_test_split(data.data, data.target, test_size=0.5, random_state=0)

    def trained(target: np.ndarray, seed: int) -> Answers:
        model = RandomForestRegressor(200, random_state=seed, min_samples_leaf=3).fit(x, target)
        return lambda rows: model.predict(rows).tolist()

    live = trained(y, 0)
    return [
        Case("diabetes, forest: retrained with another seed", Kind.NUMBER, NUMBER_GUARDS, rest, live, trained(y, 1)),
        Case(
            "diabetes, forest: targets above 200 were cut to 200",
            Kind.NUMBER,
            NUMBER_GUARDS,
            rest,
            live,
            trained(np.minimum(y, 200), 0),
        ),
    ]


def judge(case: Case, seed: int = 7) -> tuple[Assessment, int]:
    """Assess every 100 pairs until there is a verdict; the last assessment and the pairs it took."""
    spec = PredictionSpec(protocol="v2", kind=case.kind)
    plan = Plan("r/c", "r", "v1", "v2", "2", (Stage(State.SHADOW, 100.0),), case.guards, spec)
    evidence = Evidence.begin(plan, seed)
    evidence.enter_stage(0)
    rng = np.random.default_rng(seed)
    noise = 0.02 * case.rows.std(axis=0)
    for at in range(0, PAIRS, LOOK):
        rows = case.rows[rng.integers(0, len(case.rows), LOOK)]
        rows = rows + rng.normal(0.0, 1.0, rows.shape) * noise
        answers = zip(case.live(rows), case.candidate(rows), strict=True)
        evidence.add([reading(at + i, case.kind, ours, theirs) for i, (ours, theirs) in enumerate(answers)])
        assessment = evidence.assess()
        if assessment.verdict is not Verdict.INCONCLUSIVE:
            return assessment, at + LOOK
    return assessment, PAIRS


def reading(number: int, kind: Kind, live: Any, candidate: Any) -> Reading:
    """A pair that came well, without times."""
    nan = float("nan")
    return Reading(
        *(0, "w", number, str(number), float(number), Arm.LIVE, Reason.NONE, Reason.NONE),
        *(Prediction(kind, (live,)), Prediction(kind, (candidate,)), None, nan, nan, nan, nan),
        *(True, False, False, number),
    )


HEAD = """# Real models that differ in a known way

Written by `python loadtests/real_cases.py`: models and data of scikit-learn {sklearn}, Python {python}, seeded.
Requests are rows of the held-out half, drawn with replacement, with measurement noise of 2 % of each feature's standard
deviation. The comparator looks every 100 pairs, at the default error rates (1 % for a false rollback over the whole
trial, 5 % for a false promotion in a stage). Guards that need live's first 500 answers begin after them. One request
comes a second, so a block of request time is one pair ([statistics](statistics.md#a-pass-by-blocks)).

"""


def main() -> None:
    lines = [HEAD.format(sklearn=sklearn.__version__, python=platform.python_version())]
    lines += ["| what was done to the candidate | verdict | pairs | cause |", "|---|---|---|---|"]
    details = []
    for case in [*digits(), *cancer(), *diabetes()]:
        assessment, pairs = judge(case)
        cause = ", ".join(f"`{name}`" for name in assessment.causes) or "—"
        lines.append(f"| {case.what} | **{assessment.verdict.value}** | {pairs:,} | {cause} |")
        details += [f"\n**{case.what}**\n", *(f"- {finding.reason}" for finding in assessment.findings)]
        print(lines[-1], flush=True)
    OUT.write_text("\n".join([*lines, "\n## What each guard said at that moment", *details]) + "\n")


if __name__ == "__main__":
    main()
