"""Which virtual host serves a hello: names and wildcards, each with the context that stands for the host.

A host is a whole `ServerContext`, chosen before any session is looked at (F01 to F08): certificates, client
authentication, protocols, tickets and cache are all its own. This module knows only names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from resumption.crypto.names import server_name_of
from resumption.errors import ConfigurationError

__all__ = ["HostRules", "canonical_rule"]

T = TypeVar("T")


def canonical_rule(rule: str) -> str:
    """``rule`` in the form in which names are compared: lower case, A-labels, no final dot, perhaps ``*.`` in front.

    Raises `ConfigurationError` for what no server_name extension can say.
    """
    wildcard = rule.startswith("*.")
    name = server_name_of(rule[2:] if wildcard else rule)
    if name.is_address:
        raise ConfigurationError(f"{rule!r} is an address: clients never send one as a server name (RFC 6066)")
    return f"*.{name.text}" if wildcard else name.text


class HostRules(Generic[T]):
    """Hosts by rule: a name, which wins, or a wildcard: ``*.`` stands for exactly one more label.

    Raises `ConfigurationError` for rules that are no names, and for two that mean the same.
    """

    __slots__ = ("_exact", "_wildcards", "hosts")

    def __init__(self, rules: Mapping[str, T]) -> None:
        self.hosts: dict[str, T] = {}
        for rule, host in rules.items():
            canonical = canonical_rule(rule)
            if canonical in self.hosts:
                raise ConfigurationError(f"two rules for virtual hosts mean the same: {canonical}")
            self.hosts[canonical] = host
        self._exact = {rule: host for rule, host in self.hosts.items() if rule[0] != "*"}
        self._wildcards = {rule[2:]: host for rule, host in self.hosts.items() if rule[0] == "*"}

    def find(self, server_name: str) -> T | None:
        """The host for ``server_name`` (as in `ClientHelloFacts`: lower case, no final dot); None if none is."""
        host = self._exact.get(server_name)
        if host is None and self._wildcards:
            label, dot, parent = server_name.partition(".")
            if label and dot:
                host = self._wildcards.get(parent)
        return host
