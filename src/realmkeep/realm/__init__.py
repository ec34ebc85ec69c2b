"""The reference game server, built on the public API alone: the example to copy from."""
