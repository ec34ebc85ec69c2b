"""Backups of a store: made, verified by a real restore, listed, pruned, restored."""
