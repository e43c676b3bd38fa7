"""Promise: an older word never replaces a newer one, the same word counts once, and whoever spoke last holds: the
registry or the file."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.model_registry.versions import (
    KnownVersion,
    VersionWord,
    decide,
    dump_versions,
    in_force,
    load_versions,
)
from proxy.model.lineage import Lineage


def word(version: str, at: float, asked: bool = False, news: bool = True) -> VersionWord:
    return VersionWord(Lineage("mlflow", "m", version), at, asked, news)


def after(words: list[VersionWord], standing: bool, file: str = "") -> KnownVersion | None:
    known: KnownVersion | None = None
    for one in words:
        known, _ = decide(known, one, file, standing)
    return known


@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(1.0, 100.0)), min_size=1, max_size=4, unique_by=lambda one: one[1])
)
def test_the_last_word_of_an_alias_holds_in_whichever_order_they_come(said: list[tuple[int, float]]) -> None:
    latest = str(max(said, key=lambda one: one[1])[0])
    for order in permutations(said):
        known = after([word(str(version), at) for version, at in order], standing=True)
        assert known is not None
        assert known.lineage is not None
        assert known.lineage.version == latest, order


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_of_versions_that_are_created_the_largest_holds(numbers: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(numbers))
    known = after([word(str(n), float(at)) for at, n in enumerate(order)], standing=False)
    assert known is not None
    assert known.lineage is not None
    assert known.lineage.version == str(max(numbers))


def test_what_was_there_before_is_noted_and_not_tried_but_an_alias_says_what_is_wanted() -> None:
    known, what = decide(None, word("7", 0.0, asked=True, news=False), "", standing=False)
    assert (what.partition(":")[0], known) == ("noted", KnownVersion(None, "7", 0.0, ""))
    assert decide(known, word("7", 0.0, asked=True, news=False), "", standing=False) == (known, "unchanged")
    assert decide(known, word("8", 0.0, asked=True, news=False), "", standing=False)[1] == "begun"
    assert decide(None, word("7", 0.0, asked=True, news=False), "", standing=True)[1] == "begun"


def test_a_routine_answer_does_not_take_back_what_the_file_said_since() -> None:
    known, _ = decide(None, word("3", 5.0), "1", standing=True)
    assert known is not None
    edited, holds = in_force(known, "9")
    assert (holds, edited) == ("9", KnownVersion(None, "3", 5.0, "9"))
    asked = word("3", 0.0, asked=True, news=False)
    assert decide(edited, asked, "9", standing=True) == (edited, "unchanged")
    again, what = decide(edited, word("3", 8.0), "9", standing=True)
    assert what == "begun", "who sets the alias anew has spoken last"
    assert again is not None
    assert in_force(again, "9")[1] == Lineage("mlflow", "m", "3")
    assert in_force(edited, "1")[1] == "1", "and the file's word is not undone by another one of the file"


def test_a_second_word_on_one_version_adds_what_the_first_did_not_know() -> None:
    known, _ = decide(None, word("3", 5.0), "", standing=True)
    fuller = VersionWord(Lineage("mlflow", "m", "3", "run-1", "d@1", "http://m/3"), 0.0, asked=True, news=False)
    known, what = decide(known, fuller, "", standing=True)
    assert what == "unchanged"
    known, _ = decide(known, word("3", 9.0), "", standing=True)
    assert known is not None
    assert known.lineage == fuller.lineage, "nor does a poorer one take it away"


lineages = st.builds(Lineage, st.just("http"), st.text(), st.text(), st.text(), st.text(), st.text())
knowns = st.builds(KnownVersion, st.none() | lineages, st.text(), st.floats(0, 1e10), st.text())


@given(st.dictionaries(st.text(), knowns), st.dictionaries(st.text(), st.floats(0, 1e10)))
def test_what_is_kept_comes_back(known: dict[str, KnownVersion], deliveries: dict[str, float]) -> None:
    assert load_versions(dump_versions(known, deliveries)) == (known, deliveries)
