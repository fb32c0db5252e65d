"""The handshakes of TLS 1.2 and 1.3, client and server, one class per state.

`state` says what a state is, `events` what a connection tells its driver. `client` and `server` hold what both versions
share up to the choice of a version; `client13`, `server13`, `established13` (and their TLS 1.2 twins) go on from there.
"""
