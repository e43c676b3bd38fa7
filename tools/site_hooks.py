"""Hooks of MkDocs (`mkdocs.yml`): what pages link to outside docs/ becomes part of the site, so that every link works.

Pages of the repository's root are taken in under project/, the files of config/ as they are. Links are changed on the
way into the site only: in the repository they lead to the files themselves.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "ARCHITECTURE.md": "project/ARCHITECTURE.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "CHANGELOG.md": "project/CHANGELOG.md",
    "loadtests/RESULTS.md": "project/RESULTS.md",
}
EXAMPLES = "config"
_LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)([^)]*\))")


def site_path(path: str) -> str:
    """Where a file of the repository is in the site, from its root; an example has no page, only its text.

    >>> site_path("docs/guards.md"), site_path("CHANGELOG.md"), site_path("config/full.yaml")
    ('guards.md', 'project/CHANGELOG.md', 'config/full.yaml')
    """
    return PAGES.get(path, path.removeprefix("docs/"))


def moved(markdown: str, page: str) -> str:
    """Links of a page as the site has them; `page` is its path in the repository.

    >>> moved("[a](../config/full.yaml) [b](guards.md#x) [c](https://d)", "docs/quickstart.md")
    '[a](config/full.yaml) [b](guards.md#x) [c](https://d)'
    """
    here = posixpath.dirname(page)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[2]))
        there = posixpath.relpath(site_path(target), posixpath.dirname(site_path(page)) or ".")
        return f"{match[1]}{there}{match[3]}"

    return _LINK.sub(link, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Take in the pages of the root and the examples."""
    from mkdocs.structure.files import File

    examples = [path for path in (ROOT / EXAMPLES).rglob("*") if path.is_file()]
    taken = {str(path.relative_to(ROOT)): path for path in [*(ROOT / name for name in PAGES), *examples]}
    for name, path in taken.items():
        files.append(File.generated(config, site_path(name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to where their targets are in the site."""
    names = {there: here for here, there in PAGES.items()}
    uri = page.file.src_uri
    return moved(markdown, names.get(uri, f"docs/{uri}"))
