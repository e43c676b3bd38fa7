"""Promise: `suggest` measures how much two equivalent models differ and prints limits that can be pasted, under
which such a candidate passes and one at twice the limit fails, in about the pairs that it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

from proxy.cli.suggest import Found, generous_guards, generous_plan, of_rollout, print_proposals
from proxy.config import parse
from proxy.config.proposals import Measured, propose
from proxy.controller.report import rollout_json
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rate import Rate
from proxy.model import Guard, Kind, Plan
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin
from tests.calibration import truths
from tests.calibration.harness import alone
from tests.cli.test_replay import CONFIG, record, understudy
from tests.evidence.streams import make_plan, score_stream


def pasted(text: str) -> dict[str, Any]:
    """The guards of what was printed; all else is a comment."""
    found = yaml.safe_load(text)
    assert list(found) == ["guards"]
    return dict(found["guards"])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "u.yaml"
    path.write_text(CONFIG)
    return path


def test_limits_of_a_recording_can_be_pasted_and_hold(tmp_path: Path, config: Path) -> None:
    honest = record(tmp_path / "honest.jsonl", 1200, 0.02)
    said = understudy("suggest", "--recording", honest, "-c", config, "--rate", 50)
    assert said.exit_code == 0, said.output
    guards = pasted(said.stdout)
    assert 3 <= float(guards["max_disagreement"].rstrip("%")) <= 6
    assert set(guards) == {
        "max_disagreement", "min_similarity", "p99_latency", "median_latency", "max_extra_errors",
        "max_response_mismatch",
    }  # fmt: skip
    assert "# measured 2" in said.stdout.replace("  # ", "# ")
    assert "after about" in said.stdout
    text = CONFIG[: CONFIG.index("guards:")] + "guards: " + yaml.safe_dump(guards, default_flow_style=True)
    stricter = tmp_path / "pasted.yaml"
    stricter.write_text(text)
    parse(text)
    again = orjson.loads(understudy("judge", honest, "-c", stricter, "--json").stdout)
    verdicts = {finding["guard"]: finding["verdict"] for finding in again["findings"]}
    assert verdicts["max_disagreement"] == "pass"
    assert "fail" not in verdicts.values()
    worse = record(tmp_path / "worse.jsonl", 1200, 0.15)
    assert understudy("judge", worse, "-c", stricter).exit_code == 1


def test_the_same_as_json(tmp_path: Path, config: Path) -> None:
    path = record(tmp_path / "p.jsonl", 300, 0.02)
    told = orjson.loads(understudy("suggest", "--recording", path, "-c", config, "--json").stdout)
    (one,) = [entry for entry in told["guards"] if entry["guard"] == "max_disagreement"]
    assert (told["rollout"], told["not_measured"]) == ("r/c", [])
    assert one["limit"].endswith("%")
    assert one["pairs_to_pass"] > 0 < one["pairs_to_fail_at_twice_the_limit"]
    few = understudy("suggest", "--recording", path, "-c", config).stdout
    assert "only 300 pairs" in few


def test_what_is_missing_is_said(tmp_path: Path, config: Path) -> None:
    path = record(tmp_path / "p.jsonl", 0)
    assert "it contains no pairs" in understudy("suggest", "--recording", path, "-c", config).output
    assert understudy("suggest", "--recording", path).exit_code == 2
    assert "cannot reach the admin port" in understudy("suggest", "r/c", "--admin", "http://127.0.0.1:1").output


def rollout_of(plan: Plan) -> dict[str, Any]:
    """A rollout in shadow as the admin API answers, after 3,000 pairs of two equivalent models."""
    trial = RolloutRun(plan, begin(plan, 1000.0)[0], fresh_evidence(plan), PairLedger())
    trial.evidence.enter_stage(0)
    trial.evidence.add(score_stream(3000, 4, noise=0.02))
    trial.look(2000.0, None)
    return dict(orjson.loads(orjson.dumps(rollout_json(trial))))


def test_a_rollout_in_shadow_tells_limits_and_what_it_does_not_measure(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(
        Guard("max_mean_shift", 0.5),
        Guard("max_ks", 0.5),
        Guard("max_big_change", 0.5, relative=True, tolerance=0.5),
        Guard("p99_latency", 5.0, relative=True),
        Guard("median_latency", 0.25),
    )
    found = of_rollout(rollout_of(plan))
    missing = found.missing
    assert found.kinds == {"": Kind.SCORE}
    shown = rollout_of(plan)
    of_users = {"guard": "max_outcome_drop", "key": "max_outcome_drop", "of": "users"}
    shown["findings"].append(shown["findings"][0] | of_users)
    assert [one.guard for one in of_rollout(shown).measured] == [one.guard for one in found.measured], (
        "no limit on users is learned from two models"
    )
    assert print_proposals(found, (100.0,), as_json=False) == 0
    printed = capsys.readouterr().out
    guards = pasted(printed)
    assert set(guards) == {guard.name for guard in plan.guards}
    assert guards["max_big_change"]["tolerance"] == "0.5iqr"
    assert guards["max_mean_shift"] < 0.02
    assert guards["p99_latency"].endswith("x")
    assert guards["median_latency"].endswith("ms")
    assert set(missing) == {guard.name for guard in generous_guards({"": Kind.SCORE})} - set(guards)
    assert "#   max_disagreement: 50%" in printed
    text = CONFIG.replace("kind: label", "kind: score")
    parse(text[: text.index("guards:")] + "guards: " + yaml.safe_dump(guards, default_flow_style=True))


def test_nothing_measured_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(Guard("max_mean_shift", 0.5))
    trial = RolloutRun(plan, begin(plan, 1000.0)[0], fresh_evidence(plan), PairLedger())
    trial.look(2000.0, None)
    found = of_rollout(orjson.loads(orjson.dumps(rollout_json(trial))))
    assert print_proposals(found, (100.0,), as_json=False) == 1
    assert "max_mean_shift: 0.5" not in capsys.readouterr().out.replace("#   max_mean_shift", "")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.AUTO])
def test_everything_that_fits_is_measured_under_generous_limits(kind: Kind) -> None:
    plan = generous_plan(make_plan(Guard("max_extra_errors", 0.01), Guard("median_latency", 0.3), kind=kind))
    names = {guard.name for guard in plan.guards}
    assert names >= {"p99_latency", "max_extra_errors", "max_response_mismatch"}
    assert ("max_ks" in names) is (kind in (Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES, Kind.TEXT))
    assert Guard("median_latency", 0.3) in plan.guards


@pytest.mark.parametrize(
    ("name", "rule", "honest", "worse"),
    [
        ("max_disagreement", Rate("differs"), truths.events("differs", 0.013), lambda m: truths.events("differs", m)),
        ("max_mean_shift", Mean("shift", -1.0, 1.0, two_sided=True), truths.shifted(0.004), truths.shifted),
    ],
)
def test_the_costs_are_about_what_they_turn_out_to_be(name: str, rule: Any, honest: Any, worse: Any) -> None:
    batch = honest(np.random.default_rng(1), 4000)
    _, where = rule.place(batch, 1)
    counts = np.zeros(rule.width, np.int64)
    np.add.at(counts, where, 1)
    (found,) = rule.estimates(counts[None], 0.5)
    one = propose(Measured(name, found.value, found.low, found.high, found.pairs), guards=1)
    assert one.guard is not None
    limit = one.guard.limit
    passed = alone(rule, limit, honest, 20_000, 12, seed=3)
    failed = alone(rule, limit, worse(2 * limit), 20_000, 12, seed=4)
    assert (passed.pass_rate, failed.fail_rate) == (1.0, 1.0)
    assert one.to_pass / 2.5 <= passed.pass_median <= 2.5 * one.to_pass
    assert one.to_fail / 2.5 <= failed.fail_median <= 2.5 * one.to_fail


def test_a_difference_too_large_is_no_limit() -> None:
    assert propose(Measured("max_disagreement", 0.6, 0.55, 0.65, 4000), guards=1).guard is None
    assert propose(Measured("max_quality_drop", -0.1, -0.12, -0.08, 4000), guards=1).guard == Guard(
        "max_quality_drop", 0.001
    )
    similar = propose(Measured("min_similarity", 0.97, 0.96, 0.98, 4000), guards=1).guard
    assert similar == Guard("min_similarity", 0.94)
    unbounded = propose(Measured("p99_latency", 1.02, 0.9, float("inf"), 400, relative=True), guards=1).guard
    assert unbounded == Guard("p99_latency", 1.2, relative=True)


def test_check_says_where_limits_are_nobody_s_own(config: Path) -> None:
    assert "understudy suggest" not in understudy("check", "-c", config).stdout
    text = CONFIG.replace("guards: {max_disagreement: 5%, max_extra_errors: 5%, p99_latency: 1.2x}", "warmup: 50")
    config.write_text(text)
    assert "`understudy suggest r/c`" in understudy("check", "-c", config).stdout


def test_a_limit_on_cost_is_proposed_where_both_arms_have_a_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert "max_cost" not in {guard.name for guard in generous_guards({"": Kind.SCORE})}
    assert "max_cost" in {guard.name for guard in generous_guards({"": Kind.SCORE}, priced=True)}
    found = Found("r/c", {"": Kind.LABEL}, [Measured("max_cost", 1.04, 1.0, 1.08, 5000, relative=True)])
    print_proposals(found, [100.0], as_json=False)
    assert "max_cost: 1.1x" in capsys.readouterr().out
