"""Make a virtual environment from a lock file: `python3 tools/make_venv.py .venv requirements.lock`.

Standard library only, because it runs before anything is installed. Some systems ship Python without ensurepip
(Debian keeps it in python3-venv); then the pip that is there installs into the new environment, and if there is none,
one pinned pip is fetched from the package index and checked against its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

PIP = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main(folder: Path, lock: Path) -> None:
    """Make the environment anew and install what the lock names; our own package too if `lock` is the main one."""
    with tempfile.TemporaryDirectory() as temporary:
        python, pip = make(folder, Path(temporary))
        flags = ["--disable-pip-version-check", "--no-input", "--no-compile", "-q"]
        print(f"Installing {lock} into {folder} …", flush=True)
        # Only wheels: building from source would need compilers and run unpinned code.
        subprocess.run([*pip, "install", *flags, "--require-hashes", "--only-binary", ":all:", "-r", lock], check=True)
        if lock.name == "requirements.lock":
            subprocess.run([*pip, "install", *flags, "--no-deps", "--no-build-isolation", "-e", "."], check=True)
    subprocess.run([python, "-c", ""], check=True)


def make(folder: Path, temporary: Path) -> tuple[Path, list[str]]:
    """The environment's Python, and the command that installs into it."""
    python = folder / "bin" / "python"
    try:
        import ensurepip  # noqa: F401 - only whether it is there
    except ImportError:
        venv.create(folder, clear=True, with_pip=False)
        return python, [sys.executable, *_pip(temporary), "--python", str(python)]
    venv.create(folder, clear=True, with_pip=True)
    return python, [str(python), "-m", "pip"]


def _pip(temporary: Path) -> list[str]:
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return ["-m", "pip"]
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as page:  # noqa: S310 - the index its user named
        link = re.search(rf'href="([^"]*/{re.escape(PIP)})[^"]*"', page.read().decode())
    if link is None:
        raise SystemExit(f"{index} has no {PIP}; install pip or python3-venv")
    with urllib.request.urlopen(urllib.parse.urljoin(index, link[1]), timeout=60) as wheel:  # noqa: S310 - as above
        data = wheel.read()
    if hashlib.sha256(data).hexdigest() != PIP_SHA256:
        raise SystemExit(f"{PIP} from {index} is not the one that was pinned")
    (temporary / PIP).write_bytes(data)
    return [str(temporary / PIP / "pip")]  # a wheel is a zip file, and Python runs it as it is


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
