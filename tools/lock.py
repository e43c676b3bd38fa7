"""Write the lock files: `make lock`. For the image, for development, with the peers, for real servers, for an oracle,
for the site.

`uv pip compile --universal` resolves once for Python 3.11 to 3.13 on every platform; pip then installs by hash.
"""

from __future__ import annotations

import subprocess
import tempfile
import venv
from pathlib import Path

UV = "uv>=0.5"
COMMON = ["--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", "--upgrade", "-q"]
PROJECT = ["pyproject.toml", "--python-version", "3.11"]
IMAGE = [f"--extra={name}" for name in ("br", "oidc", "otel", "zstd")]  # all that a configuration can ask for
EXTRAS = [f"--extra={name}" for name in ("demo", "zstd", "oidc", "otel", "load", "test")]
LOCKS = (
    [*PROJECT, *IMAGE, "-o", "requirements-runtime.lock"],
    [*PROJECT, *EXTRAS, "-c", "requirements-runtime.lock", "-o", "requirements.lock"],
    [*PROJECT, "--all-extras", "-c", "requirements.lock", "-o", "requirements-bench.lock"],
    ["requirements-mlserver.in", "--python-version", "3.11", "-o", "requirements-mlserver.lock"],
    ["requirements-servers.in", "--python-version", "3.11", "-o", "requirements-servers.lock"],
    ["requirements-llama.in", "--python-version", "3.11", "-o", "requirements-llama.lock"],
    ["requirements-litellm.in", "--python-version", "3.11", "-o", "requirements-litellm.lock"],
    ["requirements-oracles.in", "--python-version", "3.11", "-o", "requirements-oracles.lock"],
    ["requirements-kubernetes.in", "--python-version", "3.11", "-o", "requirements-kubernetes.lock"],
    ["requirements-docs.in", "--python-version", "3.11", "-c", "requirements.lock", "-o", "requirements-docs.lock"],
)


def main() -> None:
    """Resolve each lock with a uv of its own, so that the project does not depend on it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        tools = Path(folder) / "bin"
        subprocess.run([tools / "python", "-m", "pip", "install", "-q", UV], check=True)
        for lock in LOCKS:
            print("Locking", lock[-1], flush=True)
            subprocess.run([tools / "uv", "pip", "compile", *COMMON, *lock], check=True)


if __name__ == "__main__":
    main()
