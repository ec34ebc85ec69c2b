"""The bots: clients in another process than their servers. They know what they were told, and nothing else."""
