"""The reference game server and its bots, built on the public API alone: the example to copy from."""
