"""The classic: a free too early, and a crash much later, when the cache is flushed. Here there is neither.

The manual page warns that such failures may come delayed: the free that came too early destroys an object to which the
cache still points, and SSL_CTX_flush_sessions follows the pointer.
"""

from _certificates import Town, show, talk

import resumption
from resumption.openssl import (
    SSL_CTX_flush_sessions_ex,
    SSL_CTX_sess_number,
    SSL_free,
    SSL_get0_session,
    SSL_SESSION_free,
)

town = Town()
ends = town.handshake()
session = SSL_get0_session(ends.server)
assert session is not None
show("held by the connection and by the cache", session)

refused = 0
for _ in range(3):  # in C two of these would have been enough to free it under the cache
    try:
        SSL_SESSION_free(session)
    except resumption.ReferenceCountError:
        refused += 1
show(f"{refused} frees too early were refused", session)
assert refused == 3
assert session.references == 2
assert SSL_CTX_sess_number(town.server) == 1

SSL_free(ends.client)
SSL_free(ends.server)
show("the connection is gone: a right free", session)
assert session.references == 1

again = town.handshake()
assert again.server.session_reused  # what the cache points to is whole
talk(again)

SSL_CTX_flush_sessions_ex(town.server, 0)
show("after SSL_CTX_flush_sessions", session)
assert SSL_CTX_sess_number(town.server) == 0
assert SSL_get0_session(again.server) is session
assert session.references == 1  # the connection that uses it keeps it
talk(again)

SSL_free(again.client)
SSL_free(again.server)
print("freed by its last holder:", session)
assert session.is_freed

SSL_CTX_flush_sessions_ex(town.server, 0)  # nothing dangles
town.close()
