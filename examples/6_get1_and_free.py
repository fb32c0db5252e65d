"""The right way to keep a session: SSL_get1_session, use it for as long as you like, SSL_SESSION_free, once."""

from _certificates import Town, show

import resumption
from resumption.openssl import (
    SSL_CTX_flush_sessions_ex,
    SSL_free,
    SSL_get1_session,
    SSL_SESSION_free,
    SSL_SESSION_up_ref,
)

town = Town(tls13=True)
ends = town.handshake()
session = SSL_get1_session(ends.client)
assert session is not None
show("ours, the connection's, and the cache's", session)
assert session.references == 3

SSL_free(ends.client)
SSL_free(ends.server)
SSL_CTX_flush_sessions_ex(town.client, 0)
show("connection and cache let go: ours is left", session)
assert [holder.kind for holder in session.holders] == ["application"]

again = town.handshake(session)
print(again.client.resumption)
assert again.client.session_reused

assert SSL_SESSION_up_ref(session)
show("one more for another part of the program", session)
SSL_SESSION_free(session)
SSL_SESSION_free(session)
SSL_free(again.client)
SSL_free(again.server)
print("all given back:", session)
assert session.is_freed

try:
    session.to_der()
except resumption.SessionFreedError as error:
    print(f"used after its end:\n  {type(error).__name__}: {error}")
else:
    raise AssertionError("its secret should be gone")

# The same with a block instead of a call: the session is freed at its end.
last = town.handshake()
kept = SSL_get1_session(last.client)
assert kept is not None
with kept:
    SSL_free(last.client)
    SSL_free(last.server)
    SSL_CTX_flush_sessions_ex(town.client, 0)
    show("inside `with`", kept)
    assert kept.references == 1
print("after it:", kept)
assert kept.is_freed
town.close()
