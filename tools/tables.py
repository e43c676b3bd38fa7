"""Write what docs/guards.md has from the registry (the table of guards, and which compare answers): `make docs`. A test
keeps it current."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.evidence.families.guard import EVERY, GuardType
from proxy.evidence.families.unit import Unit, Value
from proxy.evidence.rules.registry import GUARDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUARDS_PAGE = DOCS / "guards.md"


def with_table(text: str) -> str:
    """The page with its table as the registry has it now."""
    table = ["| guard | limit | predictions | what it limits |", "|---|---|---|---|", *map(_row, GUARDS.values())]
    place = r"(<!-- guards: .*? -->\n).*?(<!-- end -->)"
    found, count = re.subn(place, lambda mark: f"{mark[1]}\n{chr(10).join(table)}\n\n{mark[2]}", text, flags=re.S)
    if count != 1:
        raise ValueError("the page has no place for the table of guards")
    return _with_those_that_compare(found)


def _with_those_that_compare(text: str) -> str:
    """The page with the list of guards that compare answers, in brackets behind the words that announce it."""
    names = ", ".join(f"`{kind.name}`" for kind in GUARDS.values() if kind.compares)
    lines = textwrap.fill(f"({names})", 120, break_on_hyphens=False)
    found, count = re.subn(r"(\*\*Where no guard compares answers\*\*\n)\([^)]*\)", rf"\1{lines}", text)
    if count != 1:
        raise ValueError("the page has no place for the guards that compare answers")
    return found


def _row(kind: GuardType) -> str:
    about = " ".join(kind.about.split())
    return f"| [`{kind.name}`](#{kind.name}) | {_limit(kind.unit)} | {_kinds(kind)} | {about} |"


def _kinds(kind: GuardType) -> str:
    if kind.kinds is None:
        return "not read"
    missing = sorted(EVERY - kind.kinds)
    return (
        "all"
        if not missing
        else ", ".join(sorted(kind.kinds))
        if len(missing) > 2
        else f"all but {' and '.join(missing)}"
    )


def _limit(unit: Unit) -> str:
    if unit.fields:
        return "`{" + ", ".join(f"{key}: {_example(value)[0]}" for key, value in unit.fields.items()) + "}`"
    return ", ".join(f"`{example}`" for example in _example(unit.value)) if unit.value is not None else ""


def _example(value: Value) -> list[str]:
    options = value.schema.get("anyOf", [value.schema])
    found = [str(example) for option in options for example in option.get("examples", [option.get("const", "0.05")])]
    return sorted(dict.fromkeys(found), key=lambda example: example == "off")


if __name__ == "__main__":
    GUARDS_PAGE.write_text(with_table(GUARDS_PAGE.read_text("utf-8")), "utf-8")
    print("Wrote", GUARDS_PAGE)
