"""Migrations of a whole store: planned, rehearsed, run; and the file that shows a class that changed without a version."""
