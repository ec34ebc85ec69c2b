"""Realmkeep keeps what players earn: the persistence layer under a multiplayer game server."""
