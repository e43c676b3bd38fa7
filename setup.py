"""Compiles what every request passes through, with mypyc: the same files, plain Python for whoever reads them.

`pip install .` compiles where it finds a C compiler and Python's headers, and goes on without where it does not; then
the same files are interpreted, at 1.3 (forwarded) to 1.7 times (mirrored) the cost per request. `understudy --version`
says which. An editable installation (`-e`) and `UNDERSTUDY_COMPILE=no` leave everything interpreted. All else is in
pyproject.toml.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

PLANE = sorted(path.as_posix() for path in Path("proxy/plane").glob("*.py"))
INTERPRETED = frozenset(
    f"proxy/plane/{name}.py"
    for name in (
        "__init__", "door", "tls", "worker",  # once per process or connection
        "trails",  # its exchange is the base of another room's class too, which compiled classes cannot be
    )
)  # fmt: skip
CORE = [f"proxy/core/{name}.py" for name in ("chunks", "grpc", "headers", "ids", "link", "pace", "routing", "statuses")]


def compiled() -> list:
    """The extension modules, or none where they are not wanted or cannot be made."""
    if "editable_wheel" in sys.argv or os.environ.get("UNDERSTUDY_COMPILE") == "no":
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        return []
    # Nothing of the environment that builds may change what is built: no configuration, no installed types.
    flags = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    modules = [*CORE, *(path for path in PLANE if path not in INTERPRETED)]
    extensions = mypycify([*flags, *modules], opt_level="3", debug_level="0")
    for extension in extensions:
        extension.optional = True
    return extensions


setup(ext_modules=compiled())
