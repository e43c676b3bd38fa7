"""Promise: the configuration on each page of docs/servers works as written, and reads the answer shown there."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.model import Outcome
from proxy.predictions import read_pair
from tests.predictions.pairs import answer, pair

FOLDER = Path(__file__).parents[2] / "docs" / "servers"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")


def blocks(page: Path, language: str) -> list[str]:
    """Every block of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def test_every_page_is_listed() -> None:
    listed = set(re.findall(r"\]\(([a-z-]+\.md)(?:#[a-z-]+)?\)", (FOLDER / "README.md").read_text()))
    assert sorted(listed) == [page.name for page in PAGES]


def shown(page: Path) -> Outcome:
    """The answer on a page: JSON, or a gRPC message in base64."""
    if page.stem == "grpc":
        (message,) = blocks(page, "base64")
        return answer(base64.b64decode(message), head=b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n")
    (example,) = blocks(page, "json")
    return answer(example.encode())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_is_right(page: Path) -> None:
    text, *variants = blocks(page, "yaml")
    assert len(text.splitlines()) <= 10
    (route,) = parse(text).routes
    assert route.prediction is not None
    outcome = shown(page)
    head = f"POST {route.match.path} HTTP/1.1\r\n\r\n".encode()
    reading = read_pair(route.prediction.spec, pair(outcome, outcome, head=head))
    assert reading.detail == ""
    assert reading.live is not None
    assert reading.live.kind is route.prediction.kind
    assert reading.live == reading.candidate
    for rollouts in variants:  # other rollouts for the same route
        parse(text[: text.index("    rollouts:")] + rollouts)
