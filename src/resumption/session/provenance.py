"""Where a session was made, in a form that OpenSSL's encoding carries along.

SSL_SESSION has no place for our own facts: the partition, the lineage, the policy epoch, the rest of the chain. In a
ticket that is sealed in OpenSSL's form they travel as the ticket's application data, which OpenSSL keeps, also over
renewals, and otherwise ignores. So a ticket of ours says where it belongs, whoever renewed it; one that another program
made says nothing, and is a session from outside.

Authenticity is the seal's: nothing here may be believed of a session that was not sealed.
"""

from __future__ import annotations

from resumption.errors import SessionFormatError
from resumption.session.facts import SessionData
from resumption.session.formats import packed

__all__ = ["with_origin", "without_origin"]

_MARK = b"resumption origin 1\0"


def with_origin(data: SessionData) -> SessionData:
    """``data`` with its origin written into its ticket's application data. Raises `SessionError` as packing does."""
    origin = SessionData(
        session_id=data.session_id,
        role=data.role,
        partition=data.partition,
        policy_epoch=data.policy_epoch,
        auth_time=data.auth_time,
        deadline=data.deadline,
        peer_chain=data.peer_chain[1:],
        replay_domain=data.replay_domain,
        ticket_appdata=data.ticket_appdata,
    )
    return data.replaced(ticket_appdata=_MARK + packed.pack(origin, b""), session_id=b"", ticket=b"")


def without_origin(data: SessionData) -> SessionData:
    """``data`` as it was before `with_origin`; unchanged if it has no origin. Raises `SessionFormatError`.

    What another program may have renewed meanwhile (secret, times, suite) is taken as it is; the lineage is ours.
    """
    appdata = data.ticket_appdata
    if not appdata.startswith(_MARK):
        return data
    origin, _, _ = packed.unpack(appdata[len(_MARK) :])
    leaf = data.peer_certificate
    if origin.peer_chain and leaf is None:
        raise SessionFormatError("a session has a chain and no certificate")
    return data.replaced(
        session_id=origin.session_id,
        role=origin.role,
        partition=origin.partition,
        policy_epoch=origin.policy_epoch,
        auth_time=origin.auth_time,
        deadline=origin.deadline,
        peer_chain=() if leaf is None else (leaf, *origin.peer_chain),
        replay_domain=origin.replay_domain,
        ticket_appdata=origin.ticket_appdata,
    )
