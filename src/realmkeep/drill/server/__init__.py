"""A game server of the drill, in a process of its own: `python -m realmkeep.drill.server SETTINGS`."""
