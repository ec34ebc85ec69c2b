"""The world as rules and records: what exists, where it is, and what a player is."""

from realmkeep.realm.world import history

__all__ = ["history"]  # registers the migrations with whatever imports a record
