"""Promise: a request goes through the proxy that curl would take by the same environment, and past it where it says."""

from __future__ import annotations

import pytest

from proxy.http.proxies import proxy_of

P = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("http://a/x", {}, None),
        ("http://a/x", {"HTTP_PROXY": P}, P),
        ("http://a/x", {"HTTP_PROXY": "http://other", "http_proxy": P}, P),
        ("http://a/x", {"HTTP_PROXY": P, "http_proxy": ""}, None),
        ("https://a/x", {"http_proxy": P}, None),
        ("https://a/x", {"HTTPS_PROXY": P, "http_proxy": "http://other"}, P),
        ("https://a/x", {"ALL_PROXY": P}, P),
        ("https://a/x", {"all_proxy": "http://other", "https_proxy": P}, P),
        ("http://a/x", {"http_proxy": "proxy.example:3128"}, P),
    ],
)
def test_the_variable_is_chosen_by_scheme_and_case(url: str, environment: dict[str, str], found: str | None) -> None:
    assert proxy_of(url, environment) == found


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "http://a.example/x", True),
        ("a.example", "http://a.example/x", True),
        ("A.Example", "http://a.EXAMPLE./x", True),
        ("example", "http://a.example/x", True),
        (".example", "http://a.example/x", True),
        ("*.example", "http://a.example/x", True),
        ("ample", "http://a.example/x", False),
        ("b.example,a.example", "http://a.example/x", True),
        ("b.example a.example", "http://a.example/x", True),
        ("a.example:80", "http://a.example/x", True),
        ("a.example:443", "https://a.example/x", True),
        ("a.example:8080", "http://a.example/x", False),
        ("127.0.0.1", "http://127.0.0.1:9/x", True),
        ("127.0.0.1:9", "http://127.0.0.1:9/x", True),
        ("127.0.0.1:10", "http://127.0.0.1:9/x", False),
        ("0.0.1", "http://127.0.0.1:9/x", False),
        ("10.0.0.0/8", "http://10.9.8.7/x", True),
        ("10.1.2.3/8", "http://10.9.8.7/x", True),
        ("10.0.0.0/8", "http://11.9.8.7/x", False),
        ("::1", "http://[::1]:9/x", True),
        ("[::1]", "http://[::1]:9/x", True),
        ("[::1]:9", "http://[::1]:9/x", True),
        ("fd00::/8", "http://[fd12::1]/x", True),
        ("fd00::/8", "http://10.0.0.1/x", False),
        ("", "http://a.example/x", False),
        (" , ", "http://a.example/x", False),
        ("[,:,::::,/8,a:b", "http://a.example/x", False),
    ],
)
def test_no_proxy_names_what_is_asked_directly(no_proxy: str, url: str, direct: bool) -> None:
    environment = {"http_proxy": P, "https_proxy": P, "NO_PROXY": no_proxy}
    assert (proxy_of(url, environment) is None) == direct
