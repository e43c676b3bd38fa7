"""Promise: what is public in `evidence` and `predictions` says what it does, and what computes shows it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOMS = ("evidence", "predictions")
FILES = sorted(path for room in ROOMS for path in (Path(__file__).parents[2] / "proxy" / room).rglob("*.py"))

ACTS = {
    # Reading an answer needs a whole message: shown by golden answers in tests/core/predictions, one file per protocol.
    "extract", "recognise", "recognised", "read_pair", "protocol_of", "split", "raw_of", "assembled", "reader_of",
    "chosen_output", "output_values", "checked_datatype", "checked_shape", "chosen_name", "parse_json", "remove",
    "decoded", "is_stream", "binary_size", "copies_cost", "one_message", "document",
    "typed", "fit_live", "spoken_values",
    "answered_values", "spoken", "transcript_of", "timed_tokens", "spoken_choice", "spoken_response",
    # State in, state out: tests/evidence/test_evidence.py.
    "dump", "load_state", "follower", "merge", "copied", "restart_due", "length", "book", "learners",
    "answers_missing", "keep_for_labels", "begun", "context_of", "parts_of",
    "count_verdict", "count_units", "judged_slots", "state_hash", "limits_hash",
    "label", "columns", "measure", "compared", "comparable", "live_scalars", "find", "passes", "pairs_until_pass",
    "asked_of", "blocks_until_pass", "divergences", "histogram",
    # Sums of blocks: tests/evidence/test_timings.py.
    "facts", "batch_of", "aged", "timed", "widths", "parts", "total", "loudest", "log_fail", "least_edges", "log_pass",
    "distinct_passes",
    # Parts of a guard's type: tests/evidence/test_guards.py.
    "rule", "check", "fits", "learns", "gap", "generous", "nothing", "never", "always", "no_pairs",
    # A part of a protocol: tests/predictions/test_registry.py.
    "unasked",
}  # fmt: skip
"""Functions that have no doctest of their own; each is shown where the comment says."""


def functions(path: Path) -> list[ast.FunctionDef]:
    """Public functions at the top level of a module."""
    found = ast.parse(path.read_text()).body
    return [node for node in found if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not _is_hidden(node)]
    inside = [node for one in classes for node in one.body]
    for node in (*tree.body, *inside):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def _is_hidden(node: ast.ClassDef) -> bool:
    is_protocol = any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    return is_protocol or node.name.startswith("_")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_computes_has_a_doctest(path: Path) -> None:
    silent = [f.name for f in functions(path) if f.name not in ACTS and ">>>" not in (ast.get_docstring(f) or "")]
    assert not silent


def test_the_list_of_those_without_is_not_longer_than_it_must_be() -> None:
    silent = {f.name for path in FILES for f in functions(path) if ">>>" not in (ast.get_docstring(f) or "")}
    assert silent >= ACTS
