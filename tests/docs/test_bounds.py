"""Promise: every bound stands in the configuration reference, with what it is and what happens beyond it."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import proxy.http
import proxy.pairs
import proxy.request
import proxy.worker
from proxy.config.admin import AdminLimits, AdminTimeouts
from proxy.config.json_schema import describe_sections
from proxy.config.route import Mirror
from proxy.config.server import LimitsConfig, Timeouts
from proxy.config.types import Section
from proxy.model.reasons import Reason
from tools.bounds import NOT_FELT, PARTS, Bound

ALL = [bound for bounds in PARTS.values() for bound in bounds]
BOUND = re.compile(r"_?(?:MAX|MOST)(?:_|$)")
SAYS = re.compile(
    r"answered|closed|then \d{3}|refused|shed|goes on|beyond|fewer requests|may be silent|requests in flight have|"
    r"readiness fails|is cut off"
)
WORDS = {str(reason) for reason in Reason} | {"link_full"}


def constants() -> set[str]:
    """Whole numbers of the data path that are named like a bound, as `module:NAME` under `proxy`."""
    found = {"http.chunks:MAX_LINE", "http.headers:_MAX_TOKENS", "http.headers:_MAX_DIGITS"}
    for package in (proxy.worker, proxy.request, proxy.pairs, proxy.http):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if BOUND.match(name) and isinstance(value, int | float) and value > len("a kind of frame"):
                    found.add(f"{module.name.removeprefix('proxy.')}:{name}")
    return found


def test_no_bound_of_the_data_path_is_kept_to_itself() -> None:
    told = {name for bound in ALL for name in bound.names} | set(NOT_FELT)
    values = {name.partition(":")[2] for name in told}  # a name that is imported is the same bound
    assert {name for name in constants() if name not in told and name.partition(":")[2] not in values} == set()


@pytest.mark.parametrize("bound", ALL, ids=lambda bound: bound.where)
def test_what_happens_beyond_a_bound_is_told(bound: Bound) -> None:
    assert str(bound).count("|") == 4
    assert re.search(r"\d", str(bound).split("|")[2])
    assert set(re.findall(r"`(\w+)`", bound.beyond)) <= WORDS


SECTIONS = (LimitsConfig, Timeouts, AdminLimits, AdminTimeouts, Mirror)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.__name__)
def test_every_limit_says_what_happens_beyond_it(section: type[Section]) -> None:
    describe_sections()
    for name, field in section.model_fields.items():
        if (field.annotation in (int, float) and name != "noise_floor") or name.startswith("max_"):
            assert field.description
            assert SAYS.search(field.description), (section.__name__, name, field.description)
