"""`resumption.crypto.names`: canonical server names, and what a certificate's name covers."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.crypto.names import MAX_NAME_LENGTH, ServerName, name_matches, server_name_of
from resumption.errors import ConfigurationError


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("my_service", "my_service"),
        ("_srv.Example.com", "_srv.example.com"),
        ("foo-.example.com", "foo-.example.com"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("münchen。example", "xn--mnchen-3ya.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("127.1", "127.1"),
    ],
)
def test_canonical_name(typed: str, canonical: str) -> None:
    name = server_name_of(typed)
    assert (name.text, name.address, name.is_address) == (canonical, None, False)
    assert str(name) == canonical
    assert server_name_of(canonical) == name


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("１２７.０.０.１", "127.0.0.1"),  # noqa: RUF001 the codec maps full-width digits
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("::FFFF:7f00:1", "::ffff:127.0.0.1"),
    ],
)
def test_address_literals(typed: str, canonical: str) -> None:
    name = server_name_of(typed)
    assert (name.text, name.is_address) == (canonical, True)
    assert name.address == ipaddress.ip_address(canonical)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        ".",
        ".example.com",
        "example..com",
        "example.com..",
        "exa mple.com",
        "example.com:443",
        "https://example.com",
        "*.example.com",
        "example\0.com",
        "a" * 64 + ".example",
        ".".join(["abcdefgh"] * 29),
        "ü" * 64 + ".example",
        "ü" * 2_000,
        "münchen example",
        "[127.0.0.1]",
        "[::1",
        "::1::2",
        "user@example.com",
    ],
)
def test_what_is_no_server_name_is_refused(typed: str) -> None:
    with pytest.raises(ConfigurationError, match="not a server name"):
        server_name_of(typed)


def test_the_longest_name_is_accepted() -> None:
    longest = ".".join(["a" * 62] * 4) + "a"
    assert len(longest) == MAX_NAME_LENGTH - 1
    assert server_name_of("b" + longest[1:]).text == "b" + longest[1:]
    with pytest.raises(ConfigurationError, match="254 characters"):
        server_name_of("ab" + longest)


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_any_text_gives_a_stable_canonical_name_or_the_documented_error(text: str) -> None:
    try:
        name = server_name_of(text)
    except ConfigurationError:
        return
    assert name.text.isascii()
    assert name.text == name.text.lower()
    assert server_name_of(name.text) == name


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("example.com", "example.com", True),
        ("EXAMPLE.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("example.com.", "example.com", False),
        ("*.example.com", "www.example.com", True),
        ("*.Example.COM", "www.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.*.example.com", "a.b.example.com", False),
        ("w*.example.com", "www.example.com", False),
        ("www.*.com", "www.example.com", False),
        ("*", "localhost", False),
        ("*.", "localhost", False),
        ("", "localhost", False),
        ("*.my_zone.test", "a.my_zone.test", True),
        ("my_service", "my_service", True),
        ("*.example.com", "*.example.com", False),
        ("*.com", "example.com", True),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example", True),
    ],
)
def test_what_a_certificate_name_covers(pattern: str, name: str, covered: bool) -> None:
    assert name_matches(pattern, name) is covered


def test_server_names_are_values() -> None:
    assert {ServerName("a"), ServerName("a")} == {ServerName("a")}
