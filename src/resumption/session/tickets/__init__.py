"""Sealing: the keys that a fleet agrees on, and the tickets and records that are sealed under them."""
