"""The machine under the run: free ports, CPU and memory of processes, versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path

LOADTESTS = Path(__file__).resolve().parents[1]
ROOT = LOADTESTS.parent
PEERS = LOADTESTS / "peers"
COMPILED = ROOT / ".compiled"
"""The same tree with the data path compiled (`make bench` makes it)."""
RESULTS = LOADTESTS / "RESULTS.md"
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until somebody listens, a minute at most; raises `RuntimeError`, at once when the process has ended."""
    for _ in range(1200):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def children(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += children(int(path.parent.name))
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of CPU these processes have used, by their clocks (clock_getcpuclockid(3)): /proc counts in 10 ms,
    which are 1 µs for each of 10,000 events."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def memory(pid: int) -> float:
    """Resident MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def proportional_memory(pids: list[int]) -> float:
    """MiB of these processes (PSS): pages that several have count in parts."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total / 1024


def binary(name: str) -> str:
    """Where a program is: on the path, beside this Python, or in an environment of its own, which what has many
    dependencies gets; empty when it is not installed."""
    places = (Path(sys.executable).parent / name, ROOT / f".venv-{name}" / "bin" / name)
    return shutil.which(name) or next((str(place) for place in places if place.exists()), "")


def interpreter() -> str:
    """Which Python, and how it was built: profile-guided optimisation is worth a sixth of the worker's user time."""
    built = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PGO_PROF_USE_FLAG", "PY_CFLAGS"))
    tuned = "--enable-optimizations" in built or Path(sys.base_prefix) == Path("/usr")  # as distributions build it
    kind = "with" if tuned else "without"
    return f"Python {platform.python_version()} built {kind} profile-guided optimisation"


def _first(*command: str, tree: Path = ROOT) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tree)
    except OSError:
        return f"{command[0]} not installed"
    return ((ran.stdout or ran.stderr).strip().splitlines() or ["?"])[0]


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _beside(name: str) -> str:
    """The version of a program that has an environment of its own."""
    python = ROOT / f".venv-{name}" / "bin" / "python"
    asked = f"from importlib.metadata import version; print(version({name!r}))"
    return _first(str(python), "-c", asked) if python.exists() else "not installed"


def versions(tree: Path = COMPILED) -> str:
    """The machine, the interpreter and the version of every proxy, for the line above a table."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in cpus if "model name" in line), "?")
    envoy = re.search(r"/(\d+\.\d+\.\d+)/", _first(binary("envoy") or "envoy", "--version"))
    parts = [
        f"{len(CORES)} × {model}", f"Linux {platform.release()}",
        _first(sys.executable, "-m", "proxy", "--version", tree=tree), interpreter(),
        _first("nginx", "-v"), " ".join(_first("haproxy", "-v").split()[:3]),
        f"Envoy {envoy[1] if envoy else 'not installed'}",
        f"vllm-router {_installed('vllm-router')}",
        f"LiteLLM {_beside('litellm')}",
    ]  # fmt: skip
    return ", ".join(parts)
