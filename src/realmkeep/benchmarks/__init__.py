"""Benchmarks: Realmkeep measured beside other ways of doing the same, in one run on one server."""
