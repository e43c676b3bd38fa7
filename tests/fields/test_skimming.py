"""Promise: what is found of a JSON body without reading it is what a parser finds; of what is no JSON, what is found is
always the same, for all fields at once, and nothing raises."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import reduce

import msgspec
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.fields.document import JsonReader, as_written
from proxy.fields.set_json import rules, set_values, stands_alone
from proxy.fields.skimming import (
    LEAST_DATA,
    LEAST_TEXT,
    LONGEST_BEGINNING,
    MAX_BEGINNINGS,
    PATIENCE,
    REST,
    STRING,
    FieldSkimmer,
    SkimmedFields,
    _Step,
    _Walk,
)
from proxy.json_pointer import Pointer, child

Members = list[tuple[str, str]]
BLANKS = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "])
NAMES = ["model", "n", "a", "0", "user", "mod", "x.y-z"]
STRINGS = [
    *(f'"{name}"' for name in NAMES),
    '"mod\\u0065l"', '"\\u006eodel"', '"\\u003c"', '"say \\"model"', '"\\"model\\": 1"', '"\\\\"', '"\\\\\\""', '"{"',
    '"}"', '"},{"', '"[\\"n\\":"', '"model\\n"', '""', '"é"', '"\\u00e9"', '" a"', '":"', '","', '"\\ud83d\\ude00"',
]  # fmt: skip
TEXTS = st.sampled_from(STRINGS)
NUMBERS = st.sampled_from(["0", "-0", "1", "-12", "1.50", "1E5", "1e400", "9" * 30, "true", "false", "null"])
DATA = st.integers(0, 400).map(lambda size: "[" + ",".join(["0.25"] * size) + "]")


def spaced(parts: list[str], blanks: list[str]) -> str:
    return "".join(blanks[n % len(blanks)] + part for n, part in enumerate(parts))


def as_object(members: Members, blanks: list[str]) -> str:
    """Names may stand twice, and are written with escapes or without."""
    return spaced(["{", ",".join(spaced([name, ":", value], blanks) for name, value in members), "}"], blanks)


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.tuples(st.lists(inner, max_size=3), st.lists(BLANKS, min_size=1, max_size=3))
    objects = st.tuples(st.lists(st.tuples(TEXTS, inner), max_size=4), st.lists(BLANKS, min_size=1, max_size=4))
    return arrays.map(lambda one: spaced(["[", ",".join(one[0]), "]"], one[1])) | objects.map(
        lambda one: as_object(*one)
    )


VALUES = st.recursive(TEXTS | NUMBERS | DATA, deeper, max_leaves=10)
DOCUMENTS = st.builds(
    lambda members, blanks, tail: as_object(members, blanks) + tail,
    st.lists(st.tuples(TEXTS, VALUES), max_size=5), st.lists(BLANKS, min_size=1, max_size=4), BLANKS,
)  # fmt: skip
WORDS = "word " * 16_000
NUMBERS_BEHIND = "[" + ",".join(["0.25"] * 300) + "]"
POINTERS = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4)
CHANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 4), st.sampled_from([b"", b"}", b'"', b"{", b"\xff", b":", b"\\"])),
    min_size=1, max_size=3,
)  # fmt: skip


def written(found: SkimmedFields, pointer: Pointer) -> bytes:
    value = found.written(pointer)
    assert value is not None
    return bytes(value)


def agrees(found: SkimmedFields, asked: Iterable[Pointer], text: bytes) -> None:
    """Every value is the one that a parser gives, written as it stands in the text."""
    read = json.loads(text)
    for pointer in asked:
        try:
            there = [reduce(child, pointer, read)]
        except LookupError:
            there = []
        value = written(found, pointer)
        assert ([json.loads(value)] if value else []) == there, pointer
        if len(pointer) == 1:
            place = found.places.get(pointer[0])
            assert pointer[0] in found.names
            assert not value if place is None else text[place[0] : place[1]] == value


def skimmer_for(asked: Iterable[Pointer]) -> FieldSkimmer:
    return FieldSkimmer(tuple(dict.fromkeys(asked)))


@given(document=DOCUMENTS, asked=POINTERS, text=st.booleans())
def test_of_json_it_says_what_a_parser_says(document: str, asked: list[Pointer], text: bool) -> None:
    """As data, and as a long text."""
    begins, closing, _ = document.rpartition("}")
    more = f'"text":"{WORDS}"' if text else f'"data":{NUMBERS_BEHIND}'
    body = f"{begins}{', ' if ':' in begins else ''}{more}{closing}".encode()
    found = skimmer_for(asked).skim(body)
    if found is not None:
        agrees(found, asked, body)


@given(document=VALUES, asked=POINTERS, other=TEXTS | NUMBERS)
def test_a_reader_that_reads_all_says_the_same(document: str, asked: list[Pointer], other: str) -> None:
    assume("1e400" not in document)  # which who reads all takes for no JSON where it stands in the way
    text = document.encode()
    short, whole = JsonReader(asked).read(text), JsonReader(asked, whole=True).read(text)
    assert short is not None
    assert whole is not None
    for pointer in asked:
        values = []
        for one in (short, whole):
            try:
                values.append([one.value(pointer)])
            except LookupError:
                values.append([])
        assert values[0] == values[1]
        if other != "1e400":
            value = orjson.loads(other)
            assert short.has(pointer, value, as_written(value)) is whole.has(pointer, value, as_written(value))
        known = {one.has_member(pointer[0]) for one in (short, whole)} - {-1}
        assert len(known) <= 1


@given(
    documents=st.lists(DOCUMENTS, min_size=2, max_size=4), tails=st.lists(DATA, min_size=2, max_size=4), asked=POINTERS
)
def test_what_is_remembered_of_a_beginning_holds_whatever_follows(
    documents: list[str], tails: list[str], asked: list[Pointer]
) -> None:
    remembering = skimmer_for(asked)
    for document in documents:
        for tail in tails:
            begins, closing, _ = document.rpartition("}")
            text = f'{begins}{", " if ":" in begins else ""}"data":{tail}{closing}'.encode()
            found, fresh = remembering.skim(text), skimmer_for(asked).skim(text)
            assert (found is None) is (fresh is None)
            if found is not None and fresh is not None:
                assert (found.values, found.places) == (fresh.values, fresh.places)
                agrees(found, asked, text)


@given(document=DOCUMENTS, changes=CHANGES, asked=POINTERS, set_to=TEXTS | NUMBERS, text=st.booleans())
def test_of_what_is_no_json_it_says_one_thing_for_all_and_never_raises(
    document: str, changes: list[tuple[int, int, bytes]], asked: list[Pointer], set_to: str, text: bool
) -> None:
    body = document.encode()
    for at, size, other in changes:
        body = body[:at] + other + body[at + size :]
    body = body + (b'"%b"}' % WORDS.encode() if text else b"%b}" % NUMBERS_BEHIND.encode())
    skimmer = skimmer_for(asked)
    found, again = skimmer.skim(body), skimmer.skim(bytes(body))
    assert (found is None) is (again is None)
    read = JsonReader(asked).read(body)
    if found is None or again is None or read is None:
        return
    assert (found.values, found.places) == (again.values, again.places)
    assert all(found.written(pointer) is not None for pointer in asked)
    names = {pointer[0] for pointer in asked if len(pointer) == 1}
    changed = set_values(read, tuple(((name,), set_to.encode()) for name in sorted(names)))
    assert changed is not None
    said = skimmer_for((name,) for name in names).skim(changed)
    assert said is None or all(written(said, (name,)) == set_to.encode() for name in names)


@given(text=st.binary(max_size=60), asked=POINTERS)
def test_any_bytes_are_answered(text: bytes, asked: list[Pointer]) -> None:
    for body in (text, b'{"' + text, text + b"}", text + b" " * LEAST_DATA + b"}", text + b" " * LEAST_TEXT + b"}"):
        skimmer_for(asked).skim(body)


NUMBERS_ALONE = b"[%b]" % b",".join([b"0.5"] * 200)
LONG = b"word " * 20_000


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'{"inputs":[{"name":"x","type":"FP64","data":%b}]}' % NUMBERS_ALONE, {"inputs.0.name": b'"x"', "user": b""}),
        (b' {\n "model" : 1e5 ,\t"user": null, "data": %b } \r\n' % NUMBERS_ALONE, {"model": b"1e5", "user": b"null"}),
        (b'{"model":{"a":[1,"b"]},"x":{"user":1},"data":%b}' % NUMBERS_ALONE, {"model": b'{"a":[1,"b"]}', "user": b""}),
        (b'{"model":1,"model":"\xc3\xa9\\n","data":%b}' % NUMBERS_ALONE, {"model": b'"\xc3\xa9\\n"'}),
        (b'{"model":{"x":1},"model":{"y":2},"data":%b}' % NUMBERS_ALONE, {"model.x": b"", "model.y": b"2"}),
        (b'{"model":"m","data":%b}' % NUMBERS_ALONE, {"model.x": b"", "model.0": b""}),
        (b'{"x":[7,{"n":"y"}],"data":%b}' % NUMBERS_ALONE, {"x.0": b"7", "x.1.n": b'"y"', "x.2": b""}),
        (b'{"parameters":{"sequence_id":7},"inputs":[{"data":%b}]}' % NUMBERS_ALONE, {"parameters.sequence_id": b"7"}),
        (b'{"x":{"mod\\u0065l":1},"y":"\\"model\\":","data":%b}' % NUMBERS_ALONE, {"model": b""}),
        (b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % LONG, {"model": b'"m"', "user": b""}),
        (b'{"x":[{"role":"user","x":"%b\\n"}],"model":"m","o":{"a":[{}]}}' % LONG, {"model": b'"m"', "user": b""}),
        (b'{"messages":[{"content":"\\\\%b\\\\\\""}],"model":"m"}' % LONG, {"model": b'"m"'}),
        (b'{"content":"%b%b\\" ","model":"m"}' % (LONG, b"\\" * 60), {"model": b'"m"'}),
    ],
)  # fmt: skip
def test_what_is_found_without_reading_all(text: bytes, values: dict[str, bytes]) -> None:
    asked = {tuple(name.split(".")): value for name, value in values.items()}
    found = FieldSkimmer(tuple(asked)).skim(text)
    assert found is not None
    assert {pointer: written(found, pointer) for pointer in asked} == asked
    agrees(found, asked, text)


@pytest.mark.parametrize("asked", ["model", "data.3"])
@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b'"model"', b'{"model": "m"}', b'["model",%b]', b'{"x":"y","mod\\u0065l":%b}',
        b'{"model":%b}',
        b'{"mod\\u0065l":1,"data":%b}', b'{"model":"m","data":%b', b'{"model":"m","data":%b]', b'{"x":"y"},"data":%b}',
        b'\xef\xbb\xbf{"model":1,"data":%b}', b'{"x":"y"]],"data":%b}', b'{"x" "y" "z%b}', b'[{"model":1,"data":%b}]',
        b'{"data":[%b],"model":1,"x":""}', b'{"data":%b,"x":"' + LONG, b'{"data":%b}"' + LONG + b'"}',
        b'"' + LONG + b'"%b}', b'{"x":"' + LONG + b'"', b'{"x":"' + LONG + b'"}{"model":1}', b'{"x":"' + LONG + b'"}}',
    ],
)  # fmt: skip
def test_what_is_not_sure_is_left_to_a_reader(text: bytes, asked: str) -> None:
    body = text.replace(b"%b", NUMBERS_ALONE)
    assert FieldSkimmer((tuple(asked.split(".")), ("model",))).skim(body) is None
    for coded in ("utf-16", "utf-16-be", "utf-32"):
        assert FieldSkimmer((("model",),)).skim(body.decode("latin-1").encode(coded)) is None


def test_a_text_of_many_strings_is_read_by_who_reads_faster() -> None:
    short = b'{"model": "m", "messages": [%b]}'
    assert FieldSkimmer((("model",),)).skim(short % b",".join([b'{"role": "user", "content": "word"}'] * 2_000)) is None
    late = b'{"content": "%b"},' % LONG + b'{"role": "user"},' * 2_000 + b'{"content": "%b"}' % LONG
    assert FieldSkimmer((("model",),)).skim(short % late) is None
    deep = b'{"content": "%b"},' % LONG + b"[]," * 20_000 + b'{"content": "%b"}' % LONG
    assert FieldSkimmer((("model",),)).skim(short % deep) is None


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (b'{"model":{"x":"y","data":%b}}', ("model",)),
        (b'{"data":["x",%b,7,8]}', ("data", "2")),
        (b'{"model":["x",{"data":%b}]}', ("model",)),
        (b'{"x":"y","model":%b}', ("model", "0")),
    ],
)
def test_a_value_that_ends_behind_the_beginning_is_left_to_a_reader(text: bytes, asked: Pointer) -> None:
    assert FieldSkimmer((asked,)).skim(text % NUMBERS_ALONE) is None


def test_what_can_be_looked_for_so() -> None:
    assert not FieldSkimmer(()).usable
    assert not FieldSkimmer((("a",), ())).usable
    assert FieldSkimmer((("a", ""), ("é",))).usable


def test_all_fields_are_told_by_one_reading() -> None:
    """What would be routed by one and changed by the other is neither: here a field is not sure, and it is no JSON."""
    asked = [("model",), ("user",)]
    one = JsonReader(asked).read(b'{"model":"m","user":"u","n":NaN,"data":%b}' % NUMBERS_ALONE)
    assert one is not None
    assert (one.value(("model",)), one.value(("user",))) == ("m", "u")
    assert JsonReader(asked).read(b'{"model":"m","us\\u0065r":"u","n":NaN,"data":%b}' % NUMBERS_ALONE) is None


@pytest.mark.parametrize(("number", "is_json"), [(b"1", True), (b"NaN", False)])
def test_a_beginning_is_walked_through_when_it_comes_again_or_is_no_json(number: bytes, is_json: bool) -> None:
    reader = JsonReader([("model",)])
    text = b'{"model":"m","n":%b,"x":"y","data":%b}' % (number, NUMBERS_ALONE)
    found = [reader.read(text) for _ in range(3)]
    assert [one is not None and one.value(("model",)) == "m" for one in found] == [True] * 3
    assert [one is not None and one.fields is None for one in found] == [is_json, False, False]


def test_beginnings_that_never_come_again_are_hardly_looked_up_until_others_do() -> None:
    skimmer = FieldSkimmer((("model",),))
    for number in range(3 * PATIENCE):
        assert skimmer.skim(b'{"id":"%d","data":%b}' % (number, NUMBERS_ALONE), False) is None
    assert PATIENCE <= len(skimmer._known) <= PATIENCE + 3 * PATIENCE // REST
    again = b'{"model":"m","data":%b}' % NUMBERS_ALONE
    found = [skimmer.skim(again, False) is not None for _ in range(5 * REST)]
    assert all(found[3 * REST :])
    assert skimmer.skim(b'{"id":"new","data":%b}' % NUMBERS_ALONE, True) is not None


def test_no_more_than_some_beginnings_are_remembered_and_no_long_ones() -> None:
    skimmer = FieldSkimmer((("id",), ("x",)))
    for number in range(MAX_BEGINNINGS + 10):
        found = skimmer.skim(b'{"id":"%d","data":%b}' % (number, NUMBERS_ALONE))
        assert found is not None
        assert found.written(("id",)) == msgspec.Raw(b'"%d"' % number)
    assert 0 < len(skimmer._known) <= MAX_BEGINNINGS
    skimmer._known.clear()
    assert skimmer.skim(b'{"id":"%b","data":%b}' % (b"x" * LONGEST_BEGINNING, NUMBERS_ALONE)) is None
    assert skimmer.skim(b'{"id": "%b"}' % (b"x" * 99)) is None
    assert not skimmer._known


def test_members_are_set_where_they_were_found() -> None:
    asked = rules({"/user": 7, "/new": [1], "/model": "n", "/other": None})
    assert stands_alone(asked)
    text = b'{"model": {"a": [1]}, "n": NaN, "user" : "u", "data": %b }\n' % NUMBERS_ALONE
    document = JsonReader([tokens for tokens, _ in asked]).read(text)
    assert document is not None
    made = text.replace(b'{"a": [1]}', b'"n"').replace(b'"u"', b"7").replace(b"] }", b'],"new":[1],"other":null }')
    assert set_values(document, asked) == made


def test_what_was_not_looked_for_is_set_in_what_is_json_only() -> None:
    """A reload has changed what is set since the body was read."""
    for more, made in ((b"1", True), (b"NaN", False)):
        text = b'{"model": "m", "n": %b, "data": %b}' % (more, NUMBERS_ALONE)
        document = JsonReader([("model",)]).read(text)
        assert document is not None
        assert set_values(document, rules({"/late": 1})) == (text[:-1] + b',"late":1}' if made else None)


@pytest.mark.parametrize("unit", [b'\\"', b"\\" * 65 + b'"'])
def test_a_text_of_escaped_quotes_is_given_up_before_it_costs_more_than_reading(unit: bytes) -> None:
    """Each quote is a step of this walk, and nothing for a parser; and rows of backslashes are not counted again."""
    text = b'{"model":"x","t":"' + unit * 20_000 + b'"}'
    walk = _Walk(text, _Step(), 10 * STRING)
    assert not walk.goes()
    assert walk._work > -2 * STRING
    document = JsonReader([("model",)]).read(text)
    assert document is not None
    assert document.value(("model",)) == "x"


def test_a_long_row_of_backslashes_is_left_to_a_parser() -> None:
    text = b'{"model":"x","t":"' + b"word " * 20_000 + b"\\" * 65 + b'"","u":1}'
    assert skimmer_for([("model",)]).skim(text) is None
