"""When OpenSSL's names came and which are deprecated, and which of them are refused here, with the reason.

Facts about OpenSSL, for `docs/openssl.md` and for programs that port C code. A name that is in neither table of ages
is older than OpenSSL 1.1.0. Deprecated names work here as they do there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEPRECATED", "REFUSED", "SINCE"]

SINCE: Final = {
    "SSL_CTX_flush_sessions_ex": "3.4",
    "SSL_CTX_get_max_early_data": "1.1.1",
    "SSL_CTX_get_num_tickets": "1.1.1",
    "SSL_CTX_get_recv_max_early_data": "1.1.1",
    "SSL_CTX_set_allow_early_data_cb": "1.1.1",
    "SSL_CTX_set_max_early_data": "1.1.1",
    "SSL_CTX_set_not_resumable_session_callback": "1.1.0",
    "SSL_CTX_set_num_tickets": "1.1.1",
    "SSL_CTX_set_psk_find_session_callback": "1.1.1",
    "SSL_CTX_set_psk_use_session_callback": "1.1.1",
    "SSL_CTX_set_recv_max_early_data": "1.1.1",
    "SSL_CTX_set_session_ticket_cb": "1.1.1",
    "SSL_CTX_set_tlsext_ticket_key_evp_cb": "3.0",
    "SSL_SESSION_dup": "1.1.1",
    "SSL_SESSION_get0_alpn_selected": "1.1.1",
    "SSL_SESSION_get0_cipher": "1.1.0",
    "SSL_SESSION_get0_id_context": "1.1.0",
    "SSL_SESSION_get0_peer_rpk": "3.2",
    "SSL_SESSION_get0_ticket": "1.1.0",
    "SSL_SESSION_get0_ticket_appdata": "1.1.1",
    "SSL_SESSION_get_master_key": "1.1.0",
    "SSL_SESSION_get_max_early_data": "1.1.1",
    "SSL_SESSION_get_max_fragment_length": "1.1.1",
    "SSL_SESSION_get_protocol_version": "1.1.0",
    "SSL_SESSION_get_ticket_lifetime_hint": "1.1.0",
    "SSL_SESSION_get_time_ex": "3.3",
    "SSL_SESSION_has_ticket": "1.1.0",
    "SSL_SESSION_is_resumable": "1.1.1",
    "SSL_SESSION_print_keylog": "1.1.0",
    "SSL_SESSION_set1_alpn_selected": "1.1.1",
    "SSL_SESSION_set1_hostname": "1.1.1",
    "SSL_SESSION_set1_id": "1.1.0",
    "SSL_SESSION_set1_master_key": "1.1.1",
    "SSL_SESSION_set1_ticket_appdata": "1.1.1",
    "SSL_SESSION_set_cipher": "1.1.1",
    "SSL_SESSION_set_max_early_data": "1.1.1",
    "SSL_SESSION_set_protocol_version": "1.1.1",
    "SSL_SESSION_set_time_ex": "3.3",
    "SSL_SESSION_up_ref": "1.1.0",
    "SSL_get_early_data_status": "1.1.1",
    "SSL_get_max_early_data": "1.1.1",
    "SSL_get_num_tickets": "1.1.1",
    "SSL_get_recv_max_early_data": "1.1.1",
    "SSL_new_session_ticket": "3.0",
    "SSL_read_early_data": "1.1.1",
    "SSL_set_allow_early_data_cb": "1.1.1",
    "SSL_set_max_early_data": "1.1.1",
    "SSL_set_not_resumable_session_callback": "1.1.0",
    "SSL_set_num_tickets": "1.1.1",
    "SSL_set_psk_find_session_callback": "1.1.1",
    "SSL_set_psk_use_session_callback": "1.1.1",
    "SSL_set_recv_max_early_data": "1.1.1",
    "SSL_write_early_data": "1.1.1",
    "d2i_SSL_SESSION_ex": "3.2",
}

DEPRECATED: Final = {
    "SSL_CTX_flush_sessions": ("3.4", "SSL_CTX_flush_sessions_ex"),
    "SSL_CTX_set_tlsext_ticket_key_cb": ("3.0", "SSL_CTX_set_tlsext_ticket_key_evp_cb"),
    "SSL_SESSION_get_time": ("3.4", "SSL_SESSION_get_time_ex"),
    "SSL_SESSION_set_time": ("3.4", "SSL_SESSION_set_time_ex"),
    "SSL_get_time": ("3.4", "SSL_SESSION_get_time_ex"),
    "SSL_set_time": ("3.4", "SSL_SESSION_set_time_ex"),
}
"""Name: the version that deprecated it, and what to call instead."""

_EAP_FAST = "EAP-FAST puts a secret of the application's into a TLS 1.2 handshake: past the gate, without EMS."

REFUSED: Final = {
    "SSL_set_session_secret_cb": _EAP_FAST,
    "SSL_set_session_ticket_ext": _EAP_FAST,
    "SSL_set_session_ticket_ext_cb": _EAP_FAST,
}
"""Name: why it is not here."""
