"""Compiles what every request passes through, and what every pair does in the controller until it is part of the
evidence, with mypyc: the same files, plain Python for whoever reads them.

`pip install .` compiles where it finds a C compiler and Python's headers, and goes on without where it does not; then
the same files are interpreted, at 1.3 (forwarded) to 1.7 times (mirrored) the cost per request. `understudy --version`
says which. An editable installation (`-e`) and `UNDERSTUDY_COMPILE=no` leave everything interpreted. All else is in
pyproject.toml.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

DATA_PATH = (
    *sorted(path.as_posix() for path in Path("proxy/fields").glob("[!_]*.py")),
    *(f"proxy/http/{name}.py" for name in (
        "alike_heads", "answer_head", "chunks", "first_piece", "forwarding", "framing", "grpc", "grpc_answer",
        "grpc_opening", "headers", "ids", "known_heads", "local_replies", "placement", "request_head", "statuses",
    )),
    *(f"proxy/http/http2/{name}.py" for name in ("blocks", "connection", "decoding", "frames", "sending")),
    "proxy/pairs/link.py",
    *sorted(path.as_posix() for path in Path("proxy/request").glob("[!_]*.py")),
    *(f"proxy/worker/{name}.py" for name in (
        "context", "http2_protocol", "limits", "pace", "publisher", "reader", "taking", "timers", "turn",
    )),
    *(f"proxy/worker/downstream/{name}.py" for name in (
        "grpc", "grpc_call", "grpc_stream", "grpc_taking",
        "http1", "http1_connection", "http1_requests", "http1_states", "receiving", "tunnel",
    )),
    *(f"proxy/worker/upstream/{name}.py" for name in (
        "absence", "addresses", "affinity", "balancing", "dialling", "endpoint", "grpc", "grpc_pool", "health", "http1",
        "keepalive", "owner", "pool",
    )),
)  # fmt: skip
"""What every request passes through; what runs once per process or connection is left out."""

WAY_OF_A_PAIR = (
    *(f"proxy/controller/{name}.py" for name in (
        "fairness", "intake", "readings", "rest", "rollout_outcomes", "rollout_run", "sample_pairs", "sampling", "work",
    )),
    "proxy/evidence/input/reorder_buffer.py", "proxy/evidence/tripwire.py",
    "proxy/pairs/ledger.py",
    *(f"proxy/predictions/{name}.py" for name in ("message", "mismatch", "reading", "request", "shapes", "usual")),
)  # fmt: skip
"""What every pair passes through in the controller until it is in its place; what runs once per look or micro-batch,
most of it numpy's, is left out."""

COMPILED = DATA_PATH + WAY_OF_A_PAIR


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
    # Apart: the longer its one file, the longer a C compiler takes for each line of it.
    parts = [mypycify([*flags, *part], opt_level="3", debug_level="0") for part in (DATA_PATH, WAY_OF_A_PAIR)]
    extensions = [extension for part in parts for extension in part]
    for extension in extensions:
        extension.optional = True
    return extensions


setup(ext_modules=compiled())
