"""Promise: a file is read in one sitting and a function on one screen; what is longer is listed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("proxy", "tests", "tools", "loadtests")
LINES, STEPS = 400, 30
"""The longest file, and the longest function from its first statement after the docstring to its last line."""

LONG_FILES: set[str] = set()
"""Files beyond `LINES`, as long as they are."""

LONG_FUNCTIONS = {
    "loadtests/bench_resolver.py:main",
    "loadtests/soak.py:soak",
    "proxy/cli/replay.py:_ask",
    "proxy/cli/table.py:_rollout",
    "proxy/config/checks.py:_sides",
    "proxy/config/grpc.py:_route",
    "proxy/controller/report.py:rollout_json",
    "proxy/controller/rollout_run.py:RolloutRun.__init__",
    "proxy/evidence/input/batch.py:columns",
    "proxy/evidence/joining.py:copied",
    "proxy/evidence/joining.py:merge",
    "proxy/http/answer_head.py:read_answer",
    "proxy/http/grpc.py:request_head",
    "proxy/http/request_head.py:read_request",
    "proxy/http/http2/connection.py:Http2._on_data",
    "proxy/http/http2/connection.py:Http2.feed",
    "proxy/pairs/link.py:decode_pair",
    "proxy/predictions/reading.py:PairReader._any",
    "proxy/worker/process.py:Worker.run",
    "proxy/worker/request_log.py:LoggedRequest._record_once",
    "proxy/worker/upstream/endpoint.py:Endpoint.__init__",
    "proxy/worker/upstream/http1.py:UpstreamConnection._head",
    "tests/calibration/cases.py:delays",
    "tests/calibration/cases.py:limits",
    "tests/calibration/peers.py:duels",
    "tests/cli/test_replay_requests.py:test_replay_asks_over_the_tls_and_with_the_headers_of_the_configuration_and_of_the_command",
    "tests/config/test_mistakes.py:test_every_mistake_is_named_at_once_in_the_order_of_the_file",
    "tests/console/scenes.py:Scene.json",
    "tests/console/scenes.py:pair",
    "tests/console/scenes.py:usual",
    "tests/console/test_console.py:test_a_rollout_is_watched_from_shadow_to_rollback",
    "tests/console/test_hostile.py:test_hostile_strings_are_text",
    "tests/controller/test_request_log.py:test_a_receiver_reads_the_request_its_legs_and_the_link",
    "tests/controller/webhooks/test_outbox.py:test_an_ended_subscription_begins_anew_when_the_owner_changes_it_or_puts_it_back",
    "tests/e2e/test_bad_candidates.py:test_a_bad_candidate_costs_clients_nothing_and_is_rolled_back",
    "tests/e2e/test_labels.py:test_truths_wait_for_their_time_over_a_killed_controller",
    "tests/e2e/test_mismatches.py:test_answers_that_are_none_are_rolled_back_and_equal_ones_promoted",
    "tests/e2e/test_mismatches.py:test_the_same_over_grpc",
    "tests/e2e/test_request_log.py:test_a_trace_from_the_caller_to_both_models_and_to_the_collector",
    "tests/evidence/test_timings_fair.py:test_sums_of_blocks_are_what_the_bets_say_edge_by_edge",
    "tests/fixtures/with_slow_pairs.py:main",
    "tests/integration/test_mlserver.py:test_through_tritonclient_over_grpc",
    "tests/predictions/messages.py:_schema",
    "tests/worker/rig.py:rig",
    "tests/worker/test_tunnels.py:test_who_does_not_read_holds_up_who_writes",
    "tests/worker/test_worker.py:test_a_trial_that_is_over_is_reported_to_the_end_and_then_no_more",
    "tests/worker/test_certificates.py:test_another_client_ca_on_reload",
}
"""Functions beyond `STEPS`, as long as they are."""


def files() -> dict[str, str]:
    """Our Python files by their path from the root, as text."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(paths)}


Measure = Callable[[dict[str, str], int], dict[str, int]]
"""What is longer than so much, of texts by their name."""


def long_files(texts: dict[str, str], most: int) -> dict[str, int]:
    """How many lines each file beyond `most` has."""
    return {name: lines for name, text in texts.items() if (lines := text.count("\n")) > most}


def long_functions(texts: dict[str, str], most: int) -> dict[str, int]:
    """How many lines each function beyond `most` has, by `file:Class.function`; its docstring does not count."""
    found = {}
    for name, text in texts.items():
        for qualified, function in functions(ast.parse(text)):
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > most:
                found[f"{name}:{qualified}"] = lines
    return found


def functions(tree: ast.AST, within: str = "") -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, methods and inner ones too, by their qualified names."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr):
            continue  # there are no functions in these, and most nodes are of their kind
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((within + node.name, node))
        inside = (
            f"{within}{node.name}."
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            else within
        )
        found += functions(node, inside)
    return found


@pytest.mark.parametrize(
    ("long", "most", "allowed"),
    [
        pytest.param(long_files, LINES, LONG_FILES, id="files"),
        pytest.param(long_functions, STEPS, LONG_FUNCTIONS, id="functions"),
    ],
)
def test_what_is_long_is_listed_and_nothing_else(long: Measure, most: int, allowed: set[str]) -> None:
    found = long(files(), most)
    assert {name: lines for name, lines in found.items() if name not in allowed} == {}, "split it"
    assert allowed - found.keys() == set(), "short enough now: take it off the list"


def test_the_rule_is_not_blind() -> None:
    text = 'class A:\n    def f(self):\n        """One.\n\n        Two."""\n        x = 1\n        return x\n'
    assert long_functions({"a.py": text}, 1) == {"a.py:A.f": 2}
    assert long_functions({"a.py": text}, 2) == {}
    assert long_files({"a.py": text}, 6) == {"a.py": 7}
