#!/usr/bin/env bash
# mypyc of mypy 2.4.1, CPython 3.11 and later; needs a C compiler.
#
# One would guess: `x is UNKNOWN`, where UNKNOWN is a constant of the module, tells whether x was ever set, whatever the
# constant is; a float('nan') serves well, since it equals nothing, not even itself. And an entry that was put into a list
# is found there by `is`.
# What happens: compiled, a float is a number and a tuple of a declared form is its parts. The object is made anew each
# time it is needed, so `is` is False for the very constant, and True never comes back. mypy in strict mode says nothing.
# With None, or an instance of a class, in place of the nan both agree.
# Why it matters: a total that counts "nothing yet" by such a nan counts everything as known, and a queue that takes out
# "the same entry" takes out none. No error, another result: sums of costs were wrong by a pair before a test saw it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1 2>/dev/null
cat >"$folder/totals.py" <<'PY'
from typing import Final, Optional

UNKNOWN: Final = float("nan")


class Total:
    def __init__(self) -> None:
        self.cost: float = UNKNOWN
        self.price: Optional[float] = None

    def has_cost(self) -> bool:
        return self.cost is not UNKNOWN

    def has_price(self) -> bool:
        return self.price is not None


def is_in(entry: tuple[str, float], line: list[tuple[str, float]]) -> bool:
    return any(one is entry for one in line)
PY
cat >"$folder/see.py" <<'PY'
import totals

how = "interpreted" if totals.__file__.endswith(".py") else "compiled"
total, entry = totals.Total(), ("a", 1.0)
print(f"{how}: nothing was set: has_cost() {total.has_cost()}, has_price() {total.has_price()}")
print(f"{how}: the only entry of a list: is_in() {totals.is_in(entry, [entry])}")
PY
cd "$folder"
"$folder/venv/bin/python" see.py | tee seen
"$folder/venv/bin/mypy" --strict totals.py | tee -a seen
"$folder/venv/bin/mypyc" totals.py >/dev/null
"$folder/venv/bin/python" see.py | tee -a seen
diff seen - <<'SEEN'
interpreted: nothing was set: has_cost() False, has_price() False
interpreted: the only entry of a list: is_in() True
Success: no issues found in 1 source file
compiled: nothing was set: has_cost() True, has_price() False
compiled: the only entry of a list: is_in() False
SEEN
