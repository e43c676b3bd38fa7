"""Promise: `workers: auto` starts no more workers than the cores this process may use, and never none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cores import quota, worker_count


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000\n", 0.5), ("garbage\n", None), ("1 0\n", None)],
)
def test_quota_of_cgroup_v2(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path) == cores


@pytest.mark.parametrize(("limit", "cores"), [("-1", None), ("200000", 2.0)])
def test_quota_of_cgroup_v1(tmp_path: Path, limit: str, cores: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(limit)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert quota(tmp_path) == cores


def test_no_cgroup_is_no_limit(tmp_path: Path) -> None:
    assert quota(tmp_path) is None


@given(st.integers(1, 256), st.none() | st.floats(0.01, 256.0))
def test_auto_is_within_affinity_and_quota(affinity: int, cores: float | None) -> None:
    count = worker_count("auto", affinity, cores)
    assert 1 <= count <= affinity
    assert cores is None or count < cores + 1
