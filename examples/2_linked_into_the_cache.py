"""The context's cache holds a reference of its own: a session outlives its connection there, and resumes the next."""

from _certificates import Town, show

from resumption.openssl import (
    SSL_CTX_remove_session,
    SSL_CTX_sess_number,
    SSL_CTX_sessions,
    SSL_free,
    SSL_get0_session,
    SSL_session_reused,
)

town = Town()
ends = town.handshake()
session = SSL_get0_session(ends.server)
assert session is not None
show("after the handshake, at the server", session)
assert SSL_CTX_sess_number(town.server) == 1
assert session in SSL_CTX_sessions(town.server)
assert [holder.kind for holder in session.holders] == ["connection", "cache"]

SSL_free(ends.client)
SSL_free(ends.server)
show("both connections are gone", session)
assert [holder.kind for holder in session.holders] == ["cache"]

again = town.handshake()  # the client offers what its cache has, the server finds it in its own
show("the next connection resumed it", session)
assert SSL_session_reused(again.client)
assert SSL_session_reused(again.server)
assert SSL_get0_session(again.server) is session
assert session.references == 2

assert SSL_CTX_remove_session(town.server, session)
show("after SSL_CTX_remove_session", session)
assert SSL_CTX_sess_number(town.server) == 0
assert [holder.kind for holder in session.holders] == ["connection"]
assert not session.is_resumable  # remove, and nothing else, condemns it

SSL_free(again.client)
SSL_free(again.server)
print("the last connection is gone:", session)
assert session.is_freed
town.close()
