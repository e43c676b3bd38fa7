"""Promise: what README.md beside this file names as the keeper and the test of a promise is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LINE = re.compile(r"^\| .+ \| `([a-z_0-9/]+\.py)` `(\w+)` \| (?:`(test_\w+)`|none can\b.*) \|$")


def test_every_line_names_what_is_there() -> None:
    folders = ("worker", "request", "http", "pairs", "fuzz")
    tests = "".join(path.read_text() for folder in folders for path in (ROOT / "tests" / folder).rglob("*.py"))
    lines = [line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("| ")]
    lines = [line for line in lines if not line.startswith("| promise |")]
    assert len(lines) > 100
    for line in lines:
        match = LINE.match(line)
        assert match is not None, line
        file, place, test = match.groups()
        assert re.search(rf"\b{place}\b", (ROOT / "proxy" / file).read_text()), line
        assert test is None or f"def {test}(" in tests, line
