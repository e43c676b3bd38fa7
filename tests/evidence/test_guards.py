"""Promise: a guard is one file. With one more file among the others, every part of Understudy knows one guard more."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from proxy.config.effort import pairs_to_pass
from proxy.evidence.families.rule import Context
from proxy.evidence.input.batch import Batch
from proxy.evidence.input.reference import Reference
from proxy.evidence.rules import registry
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard, Kind, PredictionSpec
from tests.fixtures import package_with

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package says, in whose `evidence/rules/` one file was put."""
    return package_with("evidence/rules", "slow_pairs.py", "with_slow_pairs.py", tmp_path_factory.mktemp("copy"))


def test_the_file_may_have_it_in_its_unit_and_a_mistake_is_told_with_its_line(said: dict[str, Any]) -> None:
    assert said["guards"] == ["max_slow_pairs", "max_response_mismatch"]  # it compares no answers
    wrong, too_wide, right = said["mistakes"]
    assert "line 9: " in wrong
    assert "max_slow_pairs" in wrong
    assert "did you mean `5%`?" in wrong
    assert "a limit of 100% can never fail" in too_wide
    assert right == ""
    assert "did you mean `max_slow_pairs`?" in said["misspelt"]


def test_the_schema_has_it(said: dict[str, Any]) -> None:
    assert said["schema"]["description"].startswith("Share of pairs on which the candidate takes more than twice")
    assert {option.get("pattern", option.get("type")) for option in said["schema"]["anyOf"]} >= {"null"}


def test_check_plans_it(said: dict[str, Any]) -> None:
    assert "Guards: max_slow_pairs 5%, max_response_mismatch 1%." in said["check"]
    assert said["effort"] == pytest.approx(pairs_to_pass(Guard("max_disagreement", 0.05)))


def test_it_fails_and_passes_in_words(said: dict[str, Any]) -> None:
    verdict, reason, causes = said["fail"]
    assert (verdict, causes) == ("fail", ["max_slow_pairs"])
    assert reason.startswith("slow pairs now 20 % (")
    assert "limit 5 %" in reason
    verdict, reason = said["pass"]
    assert verdict == "pass"
    assert reason.startswith("slow pairs now 0 % (")
    assert said["broken"].startswith("slow pairs now 20 % (")
    assert "failed answers count as the worst" in said["broken"]
    assert said["nothing"].endswith("no pair has been timed yet")
    assert said["loaded"]


def test_the_api_and_the_console_show_it(said: dict[str, Any]) -> None:
    finding = said["api"]
    assert (finding["guard"], finding["title"], finding["unit"]) == ("max_slow_pairs", "slow pairs", "percent")
    assert finding["verdict"] == "fail"
    assert finding["limit"] == pytest.approx(0.05)
    assert said["limits"]["max_slow_pairs"] == "5%"
    assert said["charts"]["titles"]["max_slow_pairs"] == "slow pairs"
    assert said["charts"]["units"]["max_slow_pairs"] == "percent"


def test_suggest_and_the_gate_of_judge_know_it(said: dict[str, Any]) -> None:
    assert "max_slow_pairs" in said["generous"]
    assert said["proposal"] == "40%"
    assert said["gate"].startswith("fail: ")
    assert "slow pairs" in said["gate"]


def test_no_other_file_knows_a_guard_by_its_name() -> None:
    """Docstrings may give one as an example; the demo writes a configuration."""
    named, guard = {}, re.compile(rf"(?<![\w`])({'|'.join(GUARDS)})(?![\w`])")
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        place = path.relative_to(ROOT / "proxy").as_posix()
        if place.startswith(("evidence/rules/", "demo/")):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        words = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        ]
        keys = {"max_cost"} if place.startswith("config/") else set()  # also a key of `mirror` and of judges: a budget
        if found := {name for word in words for name in guard.findall(word)} - keys:
            named[place] = found
    assert named == {}


@pytest.mark.parametrize("name", GUARDS)
def test_each_is_whole(name: str) -> None:
    known = GUARDS[name]
    assert known.title
    assert known.about.endswith((".", "none."))
    relative = known.timed or bool(known.unit.fields)
    limit = 1.2 if known.timed else 0.4 if known.judged else 0.1
    guard = Guard(name, limit, relative, 1.0 if known.unit.fields else 0.0)
    assert known.check(guard, Kind.SCORE if known.reads else Kind.AUTO) is None
    assert known.unit.written(guard)
    sign = re.sub(r"^-?[0-9.]+", "", known.unit.number(guard, 0.25))
    units = {" %": "percent", " pp": "points", " x": "times", " s": "seconds", " ms": "seconds", "": "number"}
    assert known.unit.chart(guard) == units[sign], "a sentence and a table say it in one unit"
    assert known.effort.pairs(guard, 0.05) > 0
    assert known.gap(guard)
    rule = known.rule(guard, Context(Kind.SCORE, PredictionSpec(kind=Kind.SCORE)))
    assert rule.width > 0
    assert rule.burst_values().shape[0] == rule.width
    for kind in Kind:
        generous = known.generous(kind)
        assert generous is None or generous.name == name
    assert known.learns(guard, Kind.NUMBER) in (True, False)
    assert known.scale.apart(known.scale.limit(0.25, relative), relative) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("name", [name for name, known in GUARDS.items() if known.compares])
def test_a_candidate_that_fails_counts_against_each_that_compares(name: str) -> None:
    kind = Kind.SCORE if Kind.SCORE in (GUARDS[name].kinds or ()) else Kind.TEXT
    learned = Reference(0.5, 1.0, (0.5,), (0.25, 0.5), 0.5)
    rule = GUARDS[name].rule(Guard(name, 0.1), Context(kind, PredictionSpec(kind=kind), learned))
    batch = all_failed(4, rule.measures)
    assert batch.worst.tolist() == [0, 1, 2, 3]
    who, where = rule.place(batch, 7)
    assert set(who.tolist()) == {0, 1, 2, 3}, "`place` leaves `batch.worst` out"
    assert ((where >= 0) & (where < rule.width)).all()


def all_failed(n: int, measures: tuple[str, ...]) -> Batch:
    """Pairs of which live answered and the candidate failed."""
    yes, no, second = np.ones(n, bool), np.zeros(n, bool), np.full(n, 0.01)
    columns = {name: np.full(n, np.nan) for name in measures}
    times = (second, np.full(n, np.inf), second, np.full(n, np.inf), second, second)
    return Batch(np.arange(n, dtype=np.uint64), yes, no, yes, yes, no, no, *times, np.full(n, -1), columns)


def test_two_guards_cannot_have_one_name_or_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(iter(GUARDS.values()))
    for twin, what in ((replace(first, name="twin"), "place"), (replace(first, place=1), "name")):
        found = SimpleNamespace(GUARDS=(first, twin))

        def imported(name: str, found: Any = found) -> Any:
            return found if name.endswith(".ks") else SimpleNamespace()

        monkeypatch.setattr(registry, "import_module", imported)
        with pytest.raises(RuntimeError, match=f"two guards have one {what}"):
            registry._found()


def test_the_page_of_statistics_says_how_each_is_proven() -> None:
    page = (ROOT / "docs/statistics.md").read_text("utf-8")
    table = re.search(r"\| guard \| counts \| e-process .*?\n\n", page, re.S)
    assert table is not None
    first = "".join(line.split("|")[1] for line in table[0].strip().splitlines())
    assert set(re.findall(r"`(\w+)", first)) == set(GUARDS)


def test_the_page_of_language_models_names_what_judges_their_answers() -> None:
    """What a judge or embeddings say of texts, and what an answer costs."""
    page = (ROOT / "docs/llm.md").read_text("utf-8")
    table = page[page.index("## 3. What to compare") : page.index("## 4.")]
    named = set(re.findall(r"`((?:max|min|time|p99)_\w+)`", table))
    assert named < set(GUARDS)
    assert {name for name, known in GUARDS.items() if known.judged or known.embeds or known.priced} <= named
