"""Promise: tests that run in several processes are reported as in one; a process that dies costs the test it was at;
what is of a session is made and ended once in each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
import os, pytest
from tests.processes import pytest_addoption, pytest_runtestloop

@pytest.fixture(scope="session")
def noted():
    write("begins")
    yield
    write("ends")

def write(what):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{what} {os.getpid()}\\n")
"""
FILES = {
    "conftest": CONFTEST,
    "test_few": "def test_kept(noted, tmp_path): pass\ndef test_broken(noted): print('said'); assert 1 + 1 == 3",
    "test_dead": "import os\ndef test_dies(): os.kill(os.getpid(), 9)\ndef test_never(): pass",
    **{f"test_many_{n}": "import time\ndef test_takes_a_while(noted): time.sleep(0.05)" for n in range(8)},
}


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of pytest over these files in three processes."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "pytest", "--processes", "3", "-p", "no:cacheprovider", "-q", *words, "."]
    environment = {**os.environ, "PYTHONPATH": root, "NOTES": str(folder / "notes")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_what_dies_and_what_fails_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    code, said = run(tmp_path / "tests")
    assert code == 1
    assert "2 failed, 9 passed" in said
    assert "FAILED test_dead.py::test_dies" in said
    assert "its process has ended" in said
    assert "assert (1 + 1) == 3" in said
    assert "Captured stdout call" in said
    notes = (tmp_path / "tests" / "notes").read_text().split("\n")[:-1]
    begun = [line.partition(" ")[2] for line in notes if line.startswith("begins")]
    assert len(begun) == len(set(begun)) >= 2
    assert {f"ends {pid}" for pid in begun} >= set(notes) - {f"begins {pid}" for pid in begun}
    assert len(notes) >= 2 * len(begun) - 1  # the one that died ended nothing


def test_the_first_failure_ends_all_where_that_is_wanted(tmp_path: Path) -> None:
    code, said = run(tmp_path / "tests", "-x", "--deselect", "test_dead.py::test_dies")
    assert code == 1
    assert "stopping after 1 failures" in said
