"""Names of OpenSSL's that are refused: calling one raises `UsageError`, which says why and what to use instead.

A ported program then learns at the call what it would otherwise learn from an AttributeError, or not at all.
"""

from __future__ import annotations

from typing import Any, NoReturn

from resumption.errors import UsageError
from resumption.openssl.history import NOT_YET

__all__ = [
    "SSL_CTX_get_recv_max_early_data",
    "SSL_CTX_set_allow_early_data_cb",
    "SSL_CTX_set_psk_find_session_callback",
    "SSL_CTX_set_psk_use_session_callback",
    "SSL_CTX_set_recv_max_early_data",
    "SSL_get_recv_max_early_data",
    "SSL_read_early_data",
    "SSL_set_allow_early_data_cb",
    "SSL_set_psk_find_session_callback",
    "SSL_set_psk_use_session_callback",
    "SSL_set_recv_max_early_data",
    "SSL_set_session_secret_cb",
    "SSL_set_session_ticket_ext",
    "SSL_set_session_ticket_ext_cb",
]


class Refusal:
    """Stands where a function would."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        raise UsageError(f"{self.__name__} is not here. {NOT_YET[self.__name__]}")


SSL_CTX_get_recv_max_early_data = Refusal("SSL_CTX_get_recv_max_early_data")
SSL_CTX_set_allow_early_data_cb = Refusal("SSL_CTX_set_allow_early_data_cb")
SSL_CTX_set_psk_find_session_callback = Refusal("SSL_CTX_set_psk_find_session_callback")
SSL_CTX_set_psk_use_session_callback = Refusal("SSL_CTX_set_psk_use_session_callback")
SSL_CTX_set_recv_max_early_data = Refusal("SSL_CTX_set_recv_max_early_data")
SSL_get_recv_max_early_data = Refusal("SSL_get_recv_max_early_data")
SSL_read_early_data = Refusal("SSL_read_early_data")
SSL_set_allow_early_data_cb = Refusal("SSL_set_allow_early_data_cb")
SSL_set_psk_find_session_callback = Refusal("SSL_set_psk_find_session_callback")
SSL_set_psk_use_session_callback = Refusal("SSL_set_psk_use_session_callback")
SSL_set_recv_max_early_data = Refusal("SSL_set_recv_max_early_data")
SSL_set_session_secret_cb = Refusal("SSL_set_session_secret_cb")
SSL_set_session_ticket_ext = Refusal("SSL_set_session_ticket_ext")
SSL_set_session_ticket_ext_cb = Refusal("SSL_set_session_ticket_ext_cb")
