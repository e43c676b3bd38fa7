"""Write docs/configuration.md from the JSON Schema and `bounds`: `make docs`. A test keeps the page current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.config import schema, types
from tools import bounds

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
UNITS = {types.DURATION: "duration", types.SIZE: "size", types.PERCENT: "percentage", types.LATENCY: "latency limit"}
INTRODUCTION = """\
# Configuration reference

<!-- Written by `make docs` from the JSON Schema; edit the descriptions in proxy/config/ instead. -->

Every key, its type and its default. `understudy check --config FILE` describes in words what a file does and how long
each stage takes; `understudy check --schema` prints the JSON Schema for your editor
(`# yaml-language-server: $schema=understudy.schema.json` in the first line of the file).

Values carry their unit: durations `250ms`, `10s`, `10m`, `24h`, `3d`; sizes `32KiB`, `1MiB`; shares `5%`; latency
limits `1.2x` (of live) or `250ms` (absolute). An unknown key, a missing unit and a name that refers to nothing are
refused; all mistakes are reported at once. Files follow YAML 1.2: `off` is a word; anchors and merge keys work.

Values can contain placeholders. `${NAME}` is replaced by an environment variable, `${NAME:-default}` by `default` if
the variable is not set, and `${file:PATH}` by the contents of a file (without the line break at its end), which is
read again at each reload. Values that were filled in are never shown. Relative paths start at the folder of the
configuration file; if that file is a link, at the folder of the link.

"""


def page() -> str:
    """The page, from top to the deepest section, each in the order of the file."""
    whole = _with_words_inline(schema())
    parts, done, waiting = [], set(), [("", whole)]
    while waiting:
        path, part = waiting.pop(0)
        part = part["anyOf"][0] if "anyOf" in part and "properties" not in part else part
        parts.append(_section(path, part, whole["$defs"]))
        deeper = []
        for key, value in part["properties"].items():
            for name, step in _references(value, f"{path}.{key}".lstrip(".")):
                if name not in done:
                    done.add(name)
                    deeper.append((step, whole["$defs"][name]))
        waiting = deeper + waiting
    return INTRODUCTION + "\n".join([*parts, *bounds.section(), ""])


def _with_words_inline(whole: dict[str, Any]) -> dict[str, Any]:
    """The schema with every closed set of words written where it is used."""
    words = {f"#/$defs/{name}": part for name, part in whole["$defs"].items() if "enum" in part}

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {key: replace(item) for key, item in value.items() if key != "$ref" or item not in words}
            return {"enum": words[value["$ref"]]["enum"], **inner} if value.get("$ref") in words else inner
        return [replace(item) for item in value] if isinstance(value, list) else value

    replaced: dict[str, Any] = replace(whole)
    return replaced


def _section(path: str, part: dict[str, Any], sections: dict[str, Any]) -> str:
    title = f"## `{path}`" if path else "## Top level"
    lines = [title, "", part.get("description", ""), "", "| key | type | default | meaning |", "|---|---|---|---|"]
    required = set(part.get("required", ()))
    for key, value in part["properties"].items():
        must = " (required)" if key in required else ""
        default = value.get("default")
        written = "" if default in (None, "", []) or "$ref" in value else f"`{_plain(default)}`"
        meaning = value.get("description") or sections[value["$ref"].rpartition("/")[2]]["description"]
        meaning = " ".join(meaning.split())  # a row of a table is one line
        lines.append(f"| `{key}`{must} | {_type(value)} | {written} | {meaning} |".replace("|  |", "| |"))
    choice = [one["required"][0] for one in part.get("oneOf", ())]
    if choice:
        lines += ["", f"Exactly one of {', '.join(f'`{key}`' for key in choice[:-1])} and `{choice[-1]}`."]
    return "\n".join([*lines, ""])


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _references(value: dict[str, Any], path: str) -> list[tuple[str, str]]:
    """Sections that a value leads to, with the path where they stand."""
    if "$ref" in value:
        return [(value["$ref"].rpartition("/")[2], path)]
    found = [one for option in value.get("anyOf", ()) for one in _references(option, path)]
    if "items" in value:
        found += _references(value["items"], f"{path}[]")
    for inner in (value.get("additionalProperties"), *value.get("patternProperties", {}).values()):
        if isinstance(inner, dict):
            found += _references(inner, f"{path}.NAME")
    return found


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return "section"
    if "anyOf" in value:
        kinds = [_type(option) for option in value["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{word}`" for word in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}s" if "$ref" in value["items"] else f"list: {_type(value['items'])}"
    if value.get("type") == "object":
        return "mapping"
    if value.get("pattern") in UNITS:
        return UNITS[value["pattern"]]
    if value.get("examples"):
        return "e.g. " + ", ".join(f"`{example}`" for example in value["examples"])
    kind = value.get("type", "anything")
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return " or ".join(words.get(one, one) for one in ([kind] if isinstance(kind, str) else kind))


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
    print("Wrote", PAGE)
