"""What the bytes of TLS mean: messages, extensions and records, parsed and packed. Knows no keys and no sessions."""
