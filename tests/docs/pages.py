"""The pages of the repository, and what is written in their code blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.S | re.M)
_INLINE = re.compile(r"`((?:understudy|make|curl|pip install) [^`]+)`")
_FIRST = re.compile(r"(?:understudy|make|curl|pip|python3?|docker|kubectl|promtool) ")
_ENDS = frozenset({";", "|", "||", "&&", "&", "do", "then", "done", "fi"})
_LEADS = frozenset({"until", "while", "!"})


def name(page: Path) -> str:
    """The page as a person calls it."""
    return str(page.relative_to(ROOT))


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The contents of its code blocks in one language; `sh`, `yaml`, `json`, or nothing."""
    return [body for found, body in _BLOCK.findall(text(page)) if found == language]


def commands(page: Path) -> list[list[str]]:
    """Every simple command that it shows, in words: each of a `sh` block, what looks like one elsewhere."""
    found: list[list[str]] = []
    for body in blocks(page, "sh"):
        found += simple(body)
    for body in blocks(page, ""):
        lines = [line.strip().removeprefix("$ ") for line in body.splitlines()]
        found += simple("\n".join(line for line in lines if _FIRST.match(line) and "──" not in line))
    for span in _INLINE.findall(text(page)):
        found += simple(span)
    return found


def simple(script: str) -> list[list[str]]:
    """The simple commands of a shell script, those in `$(…)` last, without redirections, assignments and comments.

    >>> simple("A=1 make test && kill $x 2> log &")
    [['make', 'test'], ['kill', '$x']]
    """
    found: list[list[str]] = [[]]
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        tokens = list(lexer)
        while tokens:
            word = tokens.pop(0)
            if word in _ENDS:
                found.append([])
            elif set(word) <= set("<>&"):
                del tokens[:1]  # where it goes to
                if found[-1] and found[-1][-1] in ("1", "2"):
                    found[-1].pop()  # whose output, as in `2> log`
            elif found[-1] or not (word in _LEADS or re.match("[A-Za-z_]+=", word)):
                found[-1].append(word)
        found.append([])
    inner = [part for words in found for word in words for part in re.findall(r"\$\(([^()]*)\)", word)]
    return [words for words in found if words] + [words for part in inner for words in simple(part)]
