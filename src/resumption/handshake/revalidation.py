"""Whether who stands behind a session is still acceptable: what happened since it was verified.

The facts are gathered here, and the gate is told of them.
"""

from __future__ import annotations

from resumption.config import Config, ServerConfig
from resumption.errors import InternalError
from resumption.handshake.state import Output
from resumption.session.facts import SessionData
from resumption.session.model import Session

__all__ = ["is_revoked", "still_acceptable"]


def is_revoked(config: Config, data: SessionData, now: float) -> bool:
    """Whether the revocation lists that are held now forbid the certificates of a session."""
    if config.crls is None or config.trust is None:
        return False
    chain = _chain_of(data)
    return bool(chain) and not config.crls.allow(chain, config.trust, now)


def still_acceptable(config: ServerConfig, session: Session, now: float, out: Output) -> bool:
    """Whether the client's certificates in ``session`` still are, by the lists and by the application's hook.

    What the hook raises ends the handshake with `InternalError`, and gives back the connection's reference.
    """
    data = session.data
    if is_revoked(config, data, now):
        return False
    chain = _chain_of(data)
    if config.revalidate is None or not chain:
        return True
    try:
        return bool(config.revalidate(chain))
    except Exception as error:
        session.release(out.holder)
        raise InternalError("the revalidate hook failed") from error


def _chain_of(data: SessionData) -> tuple[bytes, ...]:
    return data.peer_chain or ((data.peer_certificate,) if data.peer_certificate else ())
