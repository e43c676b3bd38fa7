"""RESULTS.md, part by part."""

from __future__ import annotations

from loadtests.bench.machine import RESULTS

BEGIN, END = "<!-- data plane: begin -->", "<!-- data plane: end -->"


def write(sections: list[str], begin: str = BEGIN, end: str = END) -> None:
    """Put the report between its marks in RESULTS.md, leaving everything else there as it is."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    report = "\n".join([begin, *sections, end])
    if begin in text:
        text = text[: text.index(begin)] + report + text[text.index(end) + len(end) :]
    else:
        text = text.rstrip() + "\n\n" + report + "\n"
    RESULTS.write_text(text)
