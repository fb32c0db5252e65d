"""A handshake allocates a session, and its connection holds it. To keep it, take a reference of your own."""

from _certificates import Town, show

from resumption.openssl import (
    SSL_SESS_CACHE_OFF,
    SSL_CTX_set_session_cache_mode,
    SSL_free,
    SSL_get0_session,
    SSL_get1_session,
    SSL_SESSION_free,
)

town = Town()
for context in (town.client, town.server):  # without caches only connections hold sessions
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)

before = town.client.connection("localhost")
print("before the handshake:", SSL_get0_session(before))
assert SSL_get0_session(before) is None
SSL_free(before)

ends = town.handshake()
session = SSL_get0_session(ends.client)  # borrowed
of_server = SSL_get0_session(ends.server)
assert session is not None
assert of_server is not None
show("after the handshake", session)
assert session.references == 1
assert str(*session.holders) == f"connection {ends.client.number}"
assert session is not of_server  # each end has a session of its own, ...
assert session.secret == of_server.secret  # ... about the same secret

assert SSL_get1_session(ends.client) is session  # ours
show("after SSL_get1_session", session)
assert session.references == 2

SSL_free(ends.client)
show("after SSL_free: it outlives its connection", session)
assert session.references == 1
assert len(session.secret) == 48

SSL_SESSION_free(session)
print("after SSL_SESSION_free:", session)
assert session.is_freed

SSL_free(ends.server)
town.close()
