"""Foreign shapes: what other programs and libraries expect of a TLS library, on top of ours."""
