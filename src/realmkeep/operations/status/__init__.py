"""Asks a running server for its report, and shows it. It needs none of the packages that serve the report."""
