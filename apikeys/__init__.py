"""Keys: the vault, the key ring, and which key serves a call."""
