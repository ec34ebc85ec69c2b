"""The gateway: sends each client to the server that has its player. It keeps nothing, so any number of them may run."""
