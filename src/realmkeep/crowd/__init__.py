"""Bots: a crowd of players that walk, fight, trade and drop out, and the check that nothing was lost or doubled."""
