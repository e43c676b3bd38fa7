"""Promise: one event is one line of JSON with its fields, whatever they hold."""

import logging

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy import logs


def formatted(formatter: logging.Formatter, name: str, /, **fields: object) -> str:
    record = logging.LogRecord("understudy.test", logging.WARNING, __file__, 1, name, None, None)
    record.fields = fields
    return formatter.format(record)


@given(st.text(), st.dictionaries(st.sampled_from(["rollout", "reason"]), st.text() | st.floats() | st.none()))
def test_an_event_is_one_line_of_json(name: str, fields: dict[str, object]) -> None:
    line = formatted(logs.JsonFormatter("worker 0"), name.encode("utf-8", "replace").decode(), **fields)
    assert "\n" not in line
    read = orjson.loads(line)
    assert read["level"] == "warning"
    assert read["process"] == "worker 0"
    assert set(fields) <= set(read)


def test_text_names_the_fields() -> None:
    line = formatted(logs.TextFormatter("supervisor"), "process.died", name="worker 1", code=-9)
    assert line.endswith("warning supervisor: process.died name=worker 1 code=-9")


def test_a_value_that_is_not_json_is_written_as_text() -> None:
    assert orjson.loads(formatted(logs.JsonFormatter("x"), "e", path=logging))["path"].startswith("<module")
