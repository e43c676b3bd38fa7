"""Text that is not YAML, in words: what its writer most likely meant, instead of a parser's state.

PyYAML says where it gave up and what it would have needed there. The slip is often elsewhere: on the line of a bracket
that nobody closed, or where a blank after a colon is missing.
"""

from __future__ import annotations

import re
from contextlib import suppress

import yaml

from proxy.errors import Mistake

_GLUED = re.compile(r"\s*(?:- +)?([A-Za-z_][\w.-]*):([^\s/][^#]*)")
"""A line that begins with `key:value`, which YAML takes for one word (a URL's `http://` is none)."""
_CLOSES = {"{": "}", "[": "]"}


def explain(error: yaml.MarkedYAMLError, text: str) -> Mistake:
    """The slip behind an error of the parser, at the line where its writer would mend it.

    >>> def said(text):
    ...     try: yaml.safe_load(text)
    ...     except yaml.MarkedYAMLError as error: return str(explain(error, text))
    >>> said("admin: {token: ${X}}")
    'line 1: (file): not YAML: `${…}` inside braces (put it in quotes: `"${X}"`)'
    >>> said("a:\\n  b:1\\n  c: 2")
    'line 2: (file): not YAML: no blank after the colon (write `b: 1`)'
    >>> said("a: {b: [\\n")
    'line 1: (file): not YAML: the `[` is not closed (a `]` is missing)'
    """
    problem, hint, line = _slip(error, text.splitlines())
    return Mistake("(file)", f"not YAML: {problem}", hint, line)


def _slip(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[str, str, int]:
    said, within = error.problem or str(error), error.context or ""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return said, "", 0
    here = mark.line + 1
    opened = error.context_mark.line + 1 if error.context_mark is not None else here
    before = _text(lines, mark.line)[: mark.column]
    at = _text(lines, mark.line)[mark.column : mark.column + 1]
    if at == "\t" or (before.strip() == "" and "\t" in before):
        return "a tab", "YAML is indented with spaces", here
    if before.endswith("$") and at == "{":
        variable = re.match(r"\{[^}]*\}?", _text(lines, mark.line)[mark.column :])
        return "`${…}` inside braces", f'put it in quotes: `"${variable[0] if variable else at}"`', here
    if "cannot start any token" in said or "scanning an alias" in within or "scanning an anchor" in within:
        return f"a value cannot begin with `{_first(lines, error, at)}`", "put it in quotes", here
    if "quoted scalar" in within:
        return "a quote is not closed", "", opened
    for number in (here, here - 1, opened):  # the parser notices at the next line at the latest
        glued = _GLUED.match(_text(lines, number - 1))
        if glued is not None:
            return "no blank after the colon", f"write `{glued[1]}: {glued[2].rstrip()}`", number
    return _brackets(said, within, here, opened, lines, error) or (said, "", here)


def _brackets(
    said: str, within: str, here: int, opened: int, lines: list[str], error: yaml.MarkedYAMLError
) -> tuple[str, str, int] | None:
    """What is wrong with brackets and indentation, if that is what is wrong."""
    if "flow" in within and error.context_mark is not None:
        bracket = _text(lines, opened - 1)[error.context_mark.column : error.context_mark.column + 1]
        if bracket not in _CLOSES:  # nothing stands behind it: the parser names the end of the file
            bracket, opened = _last_opened(lines)
        if here > opened or "stream end" in said:
            return f"the `{bracket}` is not closed", f"a `{_CLOSES.get(bracket, bracket)}` is missing", opened
        return f"no comma between two entries of `{bracket}…`", "a value with blanks or brackets in it is quoted", here
    found = re.search(r"but found '(.*)'", said)
    if found is not None and found[1] in ("}", "]"):
        return f"a `{found[1]}` that closes nothing", "", here
    if found is not None:
        return "indented differently from its neighbours", f"they begin on line {opened}", here
    if "mapping values are not allowed" in said:
        return "a colon where none can be", "a value with `: ` in it is quoted", here
    if "could not find expected ':'" in said:
        return "a key without a colon", "", opened
    return None


def _last_opened(lines: list[str]) -> tuple[str, int]:
    """The last bracket that is not closed, and its line.

    >>> _last_opened(["a: [1, ']', # ]", "{b: {}"])
    ('{', 2)
    """
    marks = []
    with suppress(yaml.YAMLError):
        for token in yaml.scan("\n".join(lines)):
            if isinstance(token, (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)):
                marks.append(token.start_mark)
            elif isinstance(token, (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)) and marks:
                marks.pop()
    if not marks:
        return "[", len(lines)
    return _text(lines, marks[-1].line)[marks[-1].column], marks[-1].line + 1


def _first(lines: list[str], error: yaml.MarkedYAMLError, at: str) -> str:
    """The character that cannot begin a value: `*` and `&` are noticed only behind themselves."""
    mark = error.context_mark
    if mark is not None and error.context in ("while scanning an alias", "while scanning an anchor"):
        return _text(lines, mark.line)[mark.column : mark.column + 1]
    return at


def _text(lines: list[str], number: int) -> str:
    return lines[number] if 0 <= number < len(lines) else ""
