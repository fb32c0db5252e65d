"""One session object, several connections at once: each holds it, and none can take it from the others."""

from _certificates import Town, show, talk

from resumption.openssl import (
    SSL_SESS_CACHE_OFF,
    SSL_CTX_set_session_cache_mode,
    SSL_free,
    SSL_get0_session,
    SSL_get1_session,
    SSL_SESSION_free,
    SSL_session_reused,
)

town = Town()
SSL_CTX_set_session_cache_mode(town.client, SSL_SESS_CACHE_OFF)  # only connections and this program hold it
first = town.handshake()
session = SSL_get1_session(first.client)
assert session is not None

connections = [first, *(town.handshake(session) for _ in range(3))]
show("one connection made it, three resumed it", session)
assert session.references == 1 + 4
assert all(SSL_get0_session(ends.client) is session for ends in connections)
assert [SSL_session_reused(ends.client) for ends in connections] == [False, True, True, True]

SSL_SESSION_free(session)
show("the program freed its own reference", session)
assert session.references == 4

while connections:
    for ends in connections:
        talk(ends)  # whoever is left is unharmed
    gone = connections.pop(0)
    SSL_free(gone.client)
    SSL_free(gone.server)
    print(f"connection {gone.client.number} is gone, references: {session.references}")
    assert session.references == len(connections)

print("at the end:", session)
assert session.is_freed
town.close()
