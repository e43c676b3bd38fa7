"""Promise: the schema, the reference and the code know the same keys."""

from __future__ import annotations

import runpy
import typing
from typing import Any

import jsonschema
import yaml

from proxy.config import schema
from proxy.config.guards import Guards
from proxy.config.json_schema import describe_sections, sections
from proxy.config.route import ProtocolName
from proxy.evidence.rules.registry import GUARDS
from proxy.predictions.registry import PROTOCOLS
from tests.config.files import PLAIN, ROOT


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    good = yaml.safe_load(PLAIN % "shadow: 5%")
    assert check.is_valid(good)
    for path, value in (
        (("upstreams", "v1", "timeout"), "2sec"),
        (("routes", 0, "rollouts", 0, "shadow"), 5),
        (("routes", 0, "rollouts", 0, "shadw"), "5%"),
        (("routes", 0, "prediction", "kind"), "lable"),
        (("upstreams", "v1", "urls"), ["http://b"]),
    ):
        bad = yaml.safe_load(PLAIN % "shadow: 5%")
        holder: Any = bad
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value
        assert not check.is_valid(bad), path


def test_every_key_is_explained() -> None:
    describe_sections()
    for section in sections():
        assert section.__doc__
        assert [name for name, field in section.model_fields.items() if not field.description] == []


def test_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "tools" / "configuration_page.py"))["page"]() == written, "run `make docs`"
    assert [line for line in written.splitlines() if line.startswith("|") and not line.endswith("|")] == [], "torn rows"


def test_what_the_file_may_ask_for_is_built() -> None:
    assert list(Guards.model_fields) == list(GUARDS)
    assert typing.get_args(ProtocolName) == ("auto", *PROTOCOLS)
