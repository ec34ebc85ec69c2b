"""Writing: from a changed record to an acknowledged transaction."""
