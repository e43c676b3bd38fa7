"""Promise: a head that is remembered is sent as one that is seen for the first time, whatever follows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.forwarding import client_lines, forwarded
from proxy.http.placement import PathRule, Placement
from proxy.http.request_head import read_request

NAMES = st.sampled_from(
    ["host", "x-user", "x-forwarded-for", "x-forwarded-host", "x-request-id", "content-length", "via"]
)
RULES = st.none() | st.sampled_from([PathRule("/v1/*", "/openai/*"), PathRule("/v2", "/v3")])
CLIENTS = st.lists(
    st.sampled_from([b"X-User: a", b"x_user: b", b"Accept: */*", b"Content-Length: 3", b"X-Two: c"]), unique=True
)
ADDED = st.lists(st.sampled_from([b"x-shadow: c", b"x-user: d", b"content-length: 9"]), unique=True)


@given(
    host=st.sampled_from([b"", b"models.internal"]), base=st.sampled_from([b"", b"/b"]), path=RULES,
    drop=st.lists(NAMES, max_size=2), add=st.dictionaries(NAMES, st.just("set"), max_size=2),
    target=st.sampled_from([b"/v1/chat?a=/v1/b", b"/v2", b"/v2?x", b"/other"]), lines=CLIENTS, added=ADDED,
    changed=st.booleans(), check=st.booleans(),
)  # fmt: skip
def test_a_head_that_is_remembered_is_sent_like_any_other(
    host: bytes, base: bytes, path: PathRule | None, drop: list[str], add: dict[str, str], target: bytes,
    lines: list[bytes], added: list[bytes], changed: bool, check: bool,
) -> None:  # fmt: skip
    head = b"\r\n".join([b"POST %b HTTP/1.1" % target, b"Host: m", *lines, b"", b""])
    request = read_request(head)
    assert request.plain
    plain = request.bare() if changed else request.plain
    remembering = Placement(host, base, path, drop, add)
    for name in (b"1", b"2", b"3"):
        ours = client_lines(b"::1", b"http") + name + b"\r\n"
        more = b"".join(line + b"\r\n" for line in added)
        opening = b"".join((plain, ours, more, b"\r\n", b"\r\nx-user: body\r\n\r\n"))
        before = path.missed if path is not None else 0
        fresh = Placement(host, base, path, drop, add).apply(opening, is_check=check)
        counted = path.missed - before if path is not None else 0
        assert remembering.apply(opening, plain, bool(added), check) == fresh
        assert path is None or path.missed - before == 2 * counted
        assert counted == (not check and path is not None and path.apply(request.path) is request.path)
        if not added and not check:
            assert remembering.begin(plain, ours + b"\r\n", b"\r\nx-user: body\r\n\r\n") == fresh
            assert path is None or path.missed - before == 3 * counted
    assert forwarded(request, b"1", b"::1", b"http").startswith(request.plain)


def test_a_head_that_begins_otherwise_is_not_taken_for_the_one_remembered() -> None:
    placement = Placement(b"", b"/b", None, [], {})
    assert placement.apply(b"GET /1 HTTP/1.1\r\nA: 1\r\n\r\n", b"GET /1 HTTP/1.1\r\nA: 2\r\n") == (
        b"GET /b/1 HTTP/1.1\r\nA: 1\r\n\r\n"
    )


def test_no_more_than_some_are_remembered() -> None:
    placement = Placement(b"h", b"", None, [], {})
    for number in range(5_000):
        plain = b"GET /%d HTTP/1.1\r\nHost: a\r\n" % number
        assert placement.apply(plain + b"\r\n", plain) == b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % number
        assert len(placement._known) <= 1024
