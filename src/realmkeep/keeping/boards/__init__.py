"""Boards: the records of a class, ranked by one of their fields."""
