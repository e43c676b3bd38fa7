"""Promise: the image builds from the Dockerfile, its data path compiled, and serves as nobody special, with a read-only
root, until SIGTERM.

Needs root, buildah and (unless UNDERSTUDY_BASE names an image that can be pulled) debootstrap; no engine. `make
image-test` runs it. The built tree is entered with chroot inside a mount namespace of its own, which is what a
container runtime does with it, less the network.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MIRROR = "http://deb.debian.org/debian"
CONFIG = """
server: {{listen: 127.0.0.1:{data}, workers: 1, timeouts: {{drain_delay: 0s}}}}
admin: {{listen: 127.0.0.1:{admin}}}
upstreams: {{a: {{url: 'http://127.0.0.1:1'}}}}
default: {{live: a}}
store: {{path: /var/lib/understudy/understudy.db}}
"""
ENTER = """
mount --bind "$0" "$0"
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs none "$0/tmp"
mount -t tmpfs -o uid=10001 none "$0/var/lib/understudy"
mount --bind "$1" "$0/etc/understudy"
mount -o remount,bind,ro "$0"
shift
exec chroot --userspec=10001:10001 "$0" "$@"
"""

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mounts need root"),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="needs Debian's buildah"),
]


class Buildah:
    """buildah with a store of its own, vfs and chroot isolation, so that it runs inside a container too."""

    def __init__(self, folder: Path) -> None:
        self._command = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def __call__(self, *args: str | Path) -> str:
        """Run one command; what it printed."""
        environ = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
        command = [*self._command, *map(str, args)]
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, f"{args}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()


class Image(NamedTuple):
    """The root file system of the built image, and what a runtime is told of it: user, environment, commands."""

    tree: Path
    config: dict[str, Any]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built once."""
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    base = os.environ.get("UNDERSTUDY_BASE") or _base(buildah, folder)
    buildah("build", "--format", "docker", "--network", "host", "--build-arg", f"BASE={base}", "-t", "understudy", ".")
    container = buildah("from", "localhost/understudy")
    told = json.loads(buildah("inspect", "--type", "image", "localhost/understudy"))["Docker"]["config"]
    yield Image(Path(buildah("mount", container)), told)
    buildah("rm", container)


def _base(buildah: Buildah, folder: Path) -> str:
    """A base made of Debian's own packages, for where no registry can be reached."""
    if shutil.which("debootstrap") is None:
        pytest.skip("needs debootstrap, or UNDERSTUDY_BASE")
    root = folder / "base"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", root, MIRROR],
        check=True, capture_output=True, timeout=1200,
    )  # fmt: skip
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.exists():  # this machine may trust more than Debian does, a mirror's certificate for instance
        shutil.copy(authorities, root / authorities.relative_to("/"))
    container = buildah("from", "scratch")
    buildah("add", "-q", container, root, "/")
    buildah("commit", "-q", container, "base")
    buildah("rm", container)
    return "localhost/base"


def _enter(image: Image, config: Path, *command: str) -> list[str]:
    """A command inside, in the image's own environment."""
    inside = ["env", "-i", *image.config["Env"], *command]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", ENTER, str(image.tree), str(config), *inside]


def test_it_serves_as_nobody_special_on_a_read_only_root_and_drains(image: Image, tmp_path: Path) -> None:
    data, admin = free_port(), free_port()
    config = tmp_path / "config"
    config.mkdir()
    (config / "understudy.yaml").write_text(CONFIG.format(data=data, admin=admin))
    for folder in (tmp_path, config):
        folder.chmod(0o755)
    refused = subprocess.run(
        _enter(image, config, "touch", "/opt/x"), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Read-only file system" in refused.stderr
    assert (image.config["User"], image.config["StopSignal"]) == ("10001", "SIGTERM")
    command = _enter(image, config, *image.config["Entrypoint"], *image.config["Cmd"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            health = f"http://127.0.0.1:{data}/-/healthz"
            _until_it_answers(health, process)
            uids = Path(f"/proc/{process.pid}/status").read_text().partition("Uid:")[2].split()[:4]
            assert uids == ["10001"] * 4
            kind, *check = image.config["Healthcheck"]["Test"]
            assert kind == "CMD"
            for url, healthy in ((health, True), (f"http://127.0.0.1:{admin}/nothing", False)):
                asked = _enter(image, config, "env", f"UNDERSTUDY_HEALTH_URL={url}", *check)
                said = subprocess.run(asked, capture_output=True, timeout=60, check=False)
                assert (said.returncode == 0) is healthy, said.stderr
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output
            assert '"clean":true' in output
        finally:
            process.kill()


def _until_it_answers(url: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no answer within 60 s"
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)  # there is nothing to wait for in a process tree behind chroot


def test_it_holds_what_it_needs_and_nothing_to_build_with(image: Image) -> None:
    programs = {path.name for path in (image.tree / "opt" / "understudy" / "bin").iterdir()}
    assert "understudy" in programs
    assert not {"pip", "pip3", "mypy", "mypyc"} & programs
    assert list(image.tree.glob("opt/understudy/lib/*/site-packages/proxy/request/exchange.*.so")), "is not compiled"
    own, whole = _size(image.tree / "opt" / "understudy"), _size(image.tree)
    sys.stdout.write(f"\n/opt/understudy: {own / 2**20:.0f} MiB, with its base {whole / 2**20:.0f} MiB\n")
    assert own < 200 * 2**20


def _size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)
