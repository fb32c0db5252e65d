"""Freeing NULL does nothing, so cleaning up needs no questions."""

from _certificates import Town

from resumption.openssl import SSL_CTX_free, SSL_free, SSL_get1_session, SSL_SESSION_free

SSL_SESSION_free(None)
SSL_free(None)
SSL_CTX_free(None)
print("three times nothing was freed")

town = Town()
connection = town.client.connection("localhost")
session = SSL_get1_session(connection)  # before the handshake there is none
print("no handshake, no session:", session)
assert session is None

SSL_SESSION_free(session)  # what cleaning up looks like, whatever happened before
SSL_free(connection)
assert len(town.client.sessions) == 0
SSL_CTX_free(town.client)
SSL_CTX_free(town.server)
