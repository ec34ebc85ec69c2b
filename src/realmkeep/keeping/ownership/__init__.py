"""Ownership: which server may write a record, and how one server proves that to the others."""
