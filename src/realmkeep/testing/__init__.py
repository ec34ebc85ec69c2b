"""Tools for the tests of a game, and of Realmkeep itself."""
