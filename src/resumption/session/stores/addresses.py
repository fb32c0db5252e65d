"""What the URL of a store says: where its servers are, who we are there, and the options behind the question mark.

The texts of the errors never repeat a URL: it may hold a password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from resumption.errors import ConfigurationError

__all__ = ["Address", "Options", "parse_address", "parse_local", "parse_options", "split_url"]

Options: TypeAlias = Mapping[str, Callable[[str], float | int | str]]


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL. ``nodes`` are hosts with ports; ``path`` begins with a slash or is empty."""

    scheme: str
    nodes: tuple[tuple[str, int], ...]
    path: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, float | int | str] = field(default_factory=dict, repr=False)


def split_url(url: str) -> SplitResult:
    """The parts of a URL. Raises `ConfigurationError` if it has none."""
    try:
        return urlsplit(url)
    except ValueError:
        raise ConfigurationError("this is no URL: a bracket is open, or a character is not allowed") from None


def parse_options(query: str, known: Options, scheme: str) -> dict[str, float | int | str]:
    """The options of a URL, converted. Raises `ConfigurationError` naming the first that is not understood."""
    options: dict[str, float | int | str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        try:
            options[name] = known[name](value)
        except (KeyError, ValueError):
            raise ConfigurationError(f"{name!r} is no option of a {scheme} store, or its value is no number") from None
    return options


def parse_address(url: str, default_port: int, known: Options) -> Address:
    """``scheme://[user[:password]@]host[:port][,host[:port]...][/path][?options]``. Raises `ConfigurationError`."""
    parts = split_url(url)
    user, _, hosts = parts.netloc.rpartition("@")
    username, separator, password = user.partition(":")
    if parts.fragment:
        raise ConfigurationError(f"the URL of a {parts.scheme} store has no part behind a #; write %23 in passwords")
    nodes = tuple(_node(text, default_port, parts.scheme) for text in hosts.split(",") if text)
    return Address(
        parts.scheme,
        nodes,
        unquote(parts.path),
        unquote(username) or None,
        unquote(password) if separator else None,
        parse_options(parts.query, known, parts.scheme),
    )


def parse_local(url: str, known: Options, *, has_path: bool) -> tuple[str, dict[str, Any]]:
    """Path and options of a store on this machine: ``scheme:path?options``. Raises `ConfigurationError`."""
    parts = split_url(url)
    scheme, path = parts.scheme, unquote(parts.path)
    if path.startswith("/"):
        path = "/" + path.lstrip("/")  # sqlite:////var/lib, with a fourth slash, is what some tools write
    if parts.netloc or parts.fragment or bool(path) != has_path:
        shape = f"{scheme}:///path/to/file" if has_path else f"{scheme}:"
        raise ConfigurationError(f"the URL of a {scheme} store is {shape}, with options after a question mark")
    return path, parse_options(parts.query, known, scheme)


def _node(text: str, default_port: int, scheme: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if bracket and rest[:1] in ("", ":") else "none"
    else:
        host, _, port = text.partition(":")
    if not host or not (port == "" or (port.isascii() and port.isdigit() and 0 < int(port) < 65_536)):
        raise ConfigurationError(f"a host in the URL of a {scheme} store is not written host, host:port or [v6]:port")
    return unquote(host), int(port) if port else default_port
