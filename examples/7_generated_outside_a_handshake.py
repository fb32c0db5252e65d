"""A session read from DER or PEM was made outside a handshake: it is the caller's alone, and the caller frees it."""

import io

from _certificates import Town, show

from resumption.openssl import (
    PEM_read_SSL_SESSION,
    PEM_write_SSL_SESSION,
    SSL_free,
    SSL_get0_session,
    SSL_SESSION_free,
    d2i_SSL_SESSION,
    i2d_SSL_SESSION,
)

town = Town()
ends = town.handshake()
original = SSL_get0_session(ends.client)  # borrowed: not ours to free
assert original is not None
encoding = i2d_SSL_SESSION(original)
assert encoding is not None
print(f"{len(encoding)} bytes of DER, the secret among them")

session = d2i_SSL_SESSION(encoding)
assert session is not None
show("d2i_SSL_SESSION made a second object, ours alone", session)
assert session is not original
assert [holder.kind for holder in session.holders] == ["application"]
assert session.secret == original.secret

file = io.StringIO()
PEM_write_SSL_SESSION(file, session)
file.seek(0)
from_file = PEM_read_SSL_SESSION(file)
assert from_file is not None
show("and from PEM a third", from_file)
assert from_file.to_der() == encoding

SSL_free(ends.client)
SSL_free(ends.server)
print(f"after SSL_free: the original {original.references} (the cache's), ours {session.references}")
assert (original.references, session.references, from_file.references) == (1, 1, 1)

SSL_SESSION_free(session)
SSL_SESSION_free(from_file)
print("freed:", session)
assert session.is_freed
assert from_file.is_freed
assert not original.is_freed  # another object, with holders of its own

print("junk is no session:", d2i_SSL_SESSION(b"junk"))
assert d2i_SSL_SESSION(b"junk") is None
town.close()
