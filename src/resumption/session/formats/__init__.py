"""How a session is written: OpenSSL's DER and PEM, the compact form of our own, and text for people."""
