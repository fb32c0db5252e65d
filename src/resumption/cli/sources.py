"""Ticket keys as a command line names them: a secret or where it is, key files, or a store."""

from __future__ import annotations

import os

from resumption import StoredTicketKeys, TicketKeyFiles, TicketKeys
from resumption.errors import ConfigurationError

__all__ = ["SOURCES", "any_ticket_keys", "ticket_keys"]

SOURCES = "file:PATH, env:NAME, files:PATH,PATH (of OpenSSL or nginx), store:URL, or a secret itself"
_STORE_KEY = "TICKET_STORE_KEY"


def ticket_keys(source: str) -> TicketKeys:
    """The keys of a secret that is given as text, as ``file:PATH``, ``env:NAME`` or ``store:URL``.

    A store's roots are sealed with the key in the environment variable TICKET_STORE_KEY. Raises `ConfigurationError`.
    """
    kind, _, rest = source.partition(":")
    if kind == "file":
        return TicketKeys.from_file(rest)
    if kind == "env":
        return TicketKeys.from_environment(rest)
    if kind == "store":
        key = os.environ.get(_STORE_KEY)
        if not key:
            raise ConfigurationError(f"keys from a store are sealed: put their key into the variable {_STORE_KEY}")
        return StoredTicketKeys(rest, key)
    return TicketKeys.from_secret(source)


def any_ticket_keys(source: str) -> TicketKeys | TicketKeyFiles:
    """As `ticket_keys`, and ``files:PATH,PATH`` for OpenSSL's."""
    kind, _, rest = source.partition(":")
    return TicketKeyFiles(*rest.split(",")) if kind == "files" else ticket_keys(source)
