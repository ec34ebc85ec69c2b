"""Live records: what this server holds in memory, and what is kept beside each."""
