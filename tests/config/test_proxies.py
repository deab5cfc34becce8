"""The proxy of a URL, by the variables of the environment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.proxies import logins, proxy_for

URL = "https://api.example.com/v1"
FORM = "write it as http://host:port, with special characters of a password percent-encoded"


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"HTTPS_PROXY": "http://a:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https_proxy"),
        ({"HTTPS_PROXY": "http://a:1", "ALL_PROXY": "http://b:1"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": " \n", "all_proxy": "http://a:1"}, "all_proxy"),
        ({"ALL_PROXY": "http://a:1"}, "ALL_PROXY"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, None),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"HTTP_PROXY": "socks5://a:1"}, None),
        ({}, None),
    ],
)
def test_the_variable_of_the_urls_scheme_is_used_and_no_other_one_is_looked_at(
    environ: dict[str, str], variable: str | None
) -> None:
    proxy = proxy_for(URL, environ)
    assert (proxy and proxy.variable) == variable
    assert proxy is None or (proxy.url, proxy.problem) == ("http://a:1", None)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy.example", "http://proxy.example:80"),
        ("https://proxy.example/", "https://proxy.example:443"),
        ("HTTP://Proxy.example:3128", "http://proxy.example:3128"),
        ("http://user:p%40ss@[::1]:3128", "http://user:p%40ss@[::1]:3128"),
    ],
)
def test_a_valid_proxy_is_accepted_without_a_remark(text: str, url: str) -> None:
    proxy = proxy_for(URL, {"HTTPS_PROXY": text})
    assert proxy is not None
    assert (proxy.url, proxy.problem, proxy.remarks) == (url, None, ())


@pytest.mark.parametrize(
    ("text", "url", "remark"),
    [
        ("proxy:3128", "http://proxy:3128", f"has no scheme and is taken as http; {FORM}"),
        ("user:pw@host:3128", "http://user:pw@host:3128", f"has no scheme and is taken as http; {FORM}"),
        ("http://proxy:3128\n", "http://proxy:3128", "begins or ends with white space, which is left out"),
    ],
)
def test_a_proxy_with_an_obvious_slip_is_accepted_with_a_remark(text: str, url: str, remark: str) -> None:
    proxy = proxy_for(URL, {"HTTPS_PROXY": text})
    assert proxy is not None
    assert (proxy.url, proxy.problem) == (url, None)
    assert proxy.remarks == (f"environment variable HTTPS_PROXY {remark}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("socks5://proxy:1080", "names a socks5 proxy; only http and https proxies can be used"),
        ("SOCKS5h://proxy:1080", "names a socks5h proxy; only http and https proxies can be used"),
        ("nonsense://proxy:1080", f"has a scheme that is neither http nor https; {FORM}"),
        ("http://[bad", f"is not a valid URL; {FORM}"),
        ("http://proxy:port", f"is not a valid URL; {FORM}"),
        ("http://proxy:70000", f"is not a valid URL; {FORM}"),
        ("http://user:pa/ss@proxy:3128", f"is not a valid URL; {FORM}"),
        ("http://user:1/2@proxy:3128", f"is not the address of a proxy; {FORM}"),
        ("http://user:1#2@proxy:3128", f"is not the address of a proxy; {FORM}"),
        ("http://", f"is not the address of a proxy; {FORM}"),
        ("http://a:1\nhttp://b:1", f"holds a space, a control or a non-ASCII character; {FORM}"),
        ("http://user:pässword@proxy", f"holds a space, a control or a non-ASCII character; {FORM}"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_explained(text: str, problem: str) -> None:
    proxy = proxy_for(URL, {"HTTPS_PROXY": text})
    assert proxy is not None
    assert (proxy.url, proxy.problem) == ("", f"environment variable HTTPS_PROXY {problem}")


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("*", URL),
        ("example.com", URL),
        (".example.com", URL),
        ("*.example.com", URL),
        ("other, API.Example.com.\n", URL),
        ("other api.example.com", URL),
        ("api.example.com:443", URL),
        ("10.0.0.0/8", "https://10.1.2.3"),
        ("10.1.2.3", "https://10.1.2.3:8443"),
        ("::1", "https://[::1]"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("fd00::/8", "https://[fd00::1]"),
    ],
)
def test_no_proxy_names_what_goes_past_the_proxy(entries: str, url: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        assert proxy_for(url, {"HTTPS_PROXY": "socks5://unusable", name: entries}) is None


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("ample.com", URL),
        ("example.com:8443", URL),
        ("10.0.0.0/8", URL),
        ("10.0.0.0/8", "https://11.0.0.1"),
        ("", URL),
    ],
)
def test_other_hosts_go_through_the_proxy(entries: str, url: str) -> None:
    proxy = proxy_for(url, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": entries})
    assert proxy is not None
    assert proxy.remarks == ()


@pytest.mark.parametrize("entry", ["http://a.example", "10.0.0.0/99", "a.*.example", "a@b", "a:b", "."])
def test_an_invalid_entry_of_no_proxy_is_ignored(entry: str) -> None:
    proxy = proxy_for(URL, {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": f"a.example,{entry}"})
    assert proxy is not None
    assert proxy.remarks == (
        "environment variable no_proxy has an entry that is no host, domain, address or network, and is left out: "
        "the one at position 2",
    )


@settings(deadline=None)
@given(st.text("abc:/@[]#?%\\. \n5") | st.text())
def test_any_text_is_accepted_or_explained_and_never_repeated(text: str) -> None:
    secret = "s3cr3tw0rd"
    for value in (text, f"user:{secret}@{text}", f"http://{text}{secret}@host:1", f"{text}://u:{secret}@{text}"):
        proxy = proxy_for(URL, {"HTTPS_PROXY": value, "NO_PROXY": f"{secret}@x,{text}"})
        if proxy is not None:
            assert bool(proxy.url) != bool(proxy.problem)
            assert secret not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("http://user:p%40ssword@a:1", {"p%40ssword", "p@ssword", "user:p@ssword", "dXNlcjpwQHNzd29yZA=="}),
        ("user:password@a:1", {"password", "user:password", "dXNlcjpwYXNzd29yZA=="}),
        ("http://user:a@a:1", {"user:a", "dXNlcjph"}),
        ("http://user@a:1", set()),
        ("http://a:1", set()),
        ("http://[", set()),
        ("", set()),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_password_is_known_in_every_form_that_a_proxy_may_repeat(variable: str, text: str, secrets: set[str]) -> None:
    assert set(logins({variable: text, "OTHER": "http://user:password@a:1"})) == secrets
