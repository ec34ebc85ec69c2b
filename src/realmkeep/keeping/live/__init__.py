"""Live records: the sessions in this server's memory, and the state that is kept beside each."""
