"""The wire protocol: bytes to typed requests and back, over TCP and UDP; it knows no game."""
