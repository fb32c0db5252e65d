"""A free too many is an error at that very call, and changes nothing. Everybody else goes on.

The manual page allows SSL_SESSION_free only for references that one took oneself, and warns that any other call makes
the count wrong and the program fail. In C the call itself seems to work.
"""

from _certificates import Town, show, talk

import resumption
from resumption.openssl import SSL_free, SSL_get0_session, SSL_get1_session, SSL_SESSION_free

resumption.tracing()  # messages then name the places

town = Town()
ends = town.handshake()
session = SSL_get1_session(ends.client)
assert session is not None
show("one reference is ours", session)
SSL_SESSION_free(session)
holders = session.holders
show("freed once: right", session)
assert len(holders) == 2

try:
    SSL_SESSION_free(session)
except resumption.ReferenceCountError as error:
    print(f"freed twice:\n  {type(error).__name__}: {error}")
    assert "already freed its only reference" in str(error)
    assert "4_freed_too_often.py:" in str(error)
else:
    raise AssertionError("C would have taken the connection's reference now")
assert session.holders == holders

try:
    SSL_SESSION_free(SSL_get0_session(ends.server))  # borrowed, never ours
except resumption.ReferenceCountError as error:
    print(f"freed what was borrowed:\n  {type(error).__name__}: {error}")
    assert "Take one with get1_session() or up_ref()" in str(error)
else:
    raise AssertionError("C would have taken the connection's reference now")

talk(ends)  # the connection never noticed
again = town.handshake()
assert again.client.session_reused  # nor did the caches
show("everybody else is unharmed", session)

for one in (*ends, *again):
    SSL_free(one)
town.close()
print("when the last holder is gone:", session)
assert session.is_freed
