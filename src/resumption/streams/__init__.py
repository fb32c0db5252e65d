"""Connections over sockets and event loops: thin drivers of the one engine."""
