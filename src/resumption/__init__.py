"""resumption: TLS for Python in which a session is a real thing.

This module is the front door. Most programs need a context (`ClientContext`, `ServerContext`) and perhaps a `Session`;
the rest is for those who want to look closer. `resumption.errors` has every error, `resumption.handshake.events` every
event of the sans-IO engine.
"""

from __future__ import annotations

import logging

from resumption.client_context import ClientContext
from resumption.connection import Connection
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.crls import RevocationLists
from resumption.crypto.external_psk import ExternalPsk, import_psk
from resumption.errors import (
    AlertReceived,
    CertificateError,
    Error,
    PeerError,
    ReferenceCountError,
    SessionError,
    SessionFormatError,
    SessionFreedError,
    StoreError,
    UnrecognizedName,
    UsageError,
)
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.events import (
    DataReceived,
    EarlyDataReceived,
    EarlyDataRejected,
    Failed,
    HandshakeCompleted,
    HelloRetried,
    HostChosen,
    KeysUpdated,
    NeedAdmission,
    NeedSession,
    NeedSignature,
    PeerAuthenticated,
    PeerClosed,
    Question,
    SessionIssued,
)
from resumption.handshake.hello import ClientHelloFacts
from resumption.psk_callback import PskCallback
from resumption.server_context import ServerContext
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.early import EarlyData, EarlyReason, EarlyState, too_early_response
from resumption.session.fleet.replay import ReplayRegister
from resumption.session.fleet.rotation import StoredTicketKeys
from resumption.session.model import Session, tracing
from resumption.session.statistics import ContextStats
from resumption.session.stores.guarded import StoreLimits
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.callbacks import TicketKeyCallback, TicketOutcome, TicketReturn
from resumption.session.tickets.key_files import TicketKeyFiles
from resumption.session.tickets.keys import TicketKeys
from resumption.session.verdicts import Mechanism, Reason, Resumption

__all__ = [
    "AlertReceived",
    "CacheMode",
    "CertificateError",
    "CertifiedKey",
    "ClientContext",
    "ClientHelloFacts",
    "Connection",
    "ContextStats",
    "CookieKeys",
    "DataReceived",
    "EarlyData",
    "EarlyDataReceived",
    "EarlyDataRejected",
    "EarlyReason",
    "EarlyState",
    "Error",
    "ExternalPsk",
    "Failed",
    "HandshakeCompleted",
    "HelloRetried",
    "HostChosen",
    "KeysUpdated",
    "Mechanism",
    "NeedAdmission",
    "NeedSession",
    "NeedSignature",
    "PeerAuthenticated",
    "PeerClosed",
    "PeerError",
    "PskCallback",
    "Question",
    "Reason",
    "ReferenceCountError",
    "ReplayRegister",
    "RequestedCertificate",
    "Resumption",
    "RevocationLists",
    "ServerContext",
    "Session",
    "SessionCache",
    "SessionError",
    "SessionFormatError",
    "SessionFreedError",
    "SessionIssued",
    "SessionStore",
    "StoreError",
    "StoreLimits",
    "StoredTicketKeys",
    "TicketKeyCallback",
    "TicketKeyFiles",
    "TicketKeys",
    "TicketOutcome",
    "TicketReturn",
    "UnrecognizedName",
    "UsageError",
    "import_psk",
    "open_store",
    "too_early_response",
    "tracing",
]

# Silent unless an application asks for it: by a handler, or by `logging.basicConfig`.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__version__ = "0.1.0"
