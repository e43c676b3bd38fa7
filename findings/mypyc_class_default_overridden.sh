#!/usr/bin/env bash
# mypyc of mypy 2.4.1, CPython 3.11 and later; needs a C compiler.
#
# One would guess: an interpreted class that derives from a compiled one (`allow_interpreted_subclasses`) may give a class
# attribute another default, as any class may, and whoever reads it through the instance sees the new one.
# What happens: code of the compiled module reads the slot of its own class, which was filled with the base's default when
# the instance was made; interpreted code that looks at the very same instance sees the subclass's. Both are right about
# half of the program. Set in `__init__`, it is the same for both.
# Why it matters: no error anywhere, and every test of the plain files passes. A health check that says "I am one" by a class
# attribute was taken for a client's request by the compiled data path, and for a check by the tests that asked it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mypy==2.4.1 setuptools==84.2.1 2>/dev/null
cat >"$folder/legs.py" <<'PY'
from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Leg:
    is_check: bool = False


def counts_as_check(leg: Leg) -> bool:
    return leg.is_check
PY
cat >"$folder/see.py" <<'PY'
import legs


class Probe(legs.Leg):
    is_check = True


class Careful(legs.Leg):
    def __init__(self) -> None:
        self.is_check = True


how = "interpreted" if legs.__file__.endswith(".py") else "compiled"
for kind in (Probe, Careful):
    one = kind()
    print(f"{how}: {kind.__name__}: asked from outside {one.is_check}, by the module {legs.counts_as_check(one)}")
PY
cd "$folder"
"$folder/venv/bin/python" see.py | tee seen
"$folder/venv/bin/mypyc" legs.py >/dev/null
"$folder/venv/bin/python" see.py | tee -a seen
diff seen - <<'SEEN'
interpreted: Probe: asked from outside True, by the module True
interpreted: Careful: asked from outside True, by the module True
compiled: Probe: asked from outside True, by the module False
compiled: Careful: asked from outside True, by the module True
SEEN
