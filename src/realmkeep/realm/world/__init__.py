"""The world as rules and records: the data file, zones, monsters, items and players."""

from realmkeep.realm.world import history

__all__ = ["history"]  # registers the migrations before a record is read
