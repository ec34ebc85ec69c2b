"""Copies a realm from one store into another, of any kind."""
