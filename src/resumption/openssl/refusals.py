"""Names of OpenSSL's that are refused: calling one raises `UsageError`, which says why and what to use instead.

A ported program then learns at the call what it would otherwise learn from an AttributeError, or not at all.
"""

from __future__ import annotations

from typing import Any, NoReturn

from resumption.errors import UsageError
from resumption.openssl.history import REFUSED

__all__ = ["SSL_set_session_secret_cb", "SSL_set_session_ticket_ext", "SSL_set_session_ticket_ext_cb"]


class Refusal:
    """Stands where a function would."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        raise UsageError(f"{self.__name__} is not here. {REFUSED[self.__name__]}")


SSL_set_session_secret_cb = Refusal("SSL_set_session_secret_cb")
SSL_set_session_ticket_ext = Refusal("SSL_set_session_ticket_ext")
SSL_set_session_ticket_ext_cb = Refusal("SSL_set_session_ticket_ext_cb")
