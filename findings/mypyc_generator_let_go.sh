#!/usr/bin/env bash
# mypyc of mypy 2.4.1, CPython 3.11 and later; needs a C compiler.
#
# One would guess: a generator that is left amid a `for` loop is closed as CPython closes it, since mypyc compiles the same
# language: what stands in its `finally`, or behind its `with`, is done as soon as nobody holds it.
# What happens: a compiled generator that is let go of is freed without being closed. Its `finally` is never run, and
# neither is the end of its `with`. Closed by hand (`close()`), it does run them. Interpreted, both do.
# Why it matters: tests of the plain files pass, and the installation that is compiled from them loses what the `finally`
# would have kept: the rest of a buffer, a lock, a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1 2>/dev/null
cat >"$folder/pieces.py" <<'PY'
from collections.abc import Iterator


def pieces(kept: list[str]) -> Iterator[int]:
    try:
        yield 1
        yield 2
    finally:
        kept.append("the rest")


def stop(kept: list[str]) -> None:
    for _ in pieces(kept):
        break
PY
cat >"$folder/see.py" <<'PY'
import gc

import pieces

left: list[str] = []
pieces.stop(left)
gc.collect()
closed: list[str] = []
some = pieces.pieces(closed)
next(some)
some.close()
how = "interpreted" if pieces.__file__.endswith(".py") else "compiled"
print(f"{how}: left amid its pieces {left}, closed by hand {closed}")
PY
cd "$folder"
"$folder/venv/bin/python" see.py | tee seen
"$folder/venv/bin/mypyc" pieces.py >/dev/null
"$folder/venv/bin/python" see.py | tee -a seen
diff seen - <<'SEEN'
interpreted: left amid its pieces ['the rest'], closed by hand ['the rest']
compiled: left amid its pieces [], closed by hand ['the rest']
SEEN
