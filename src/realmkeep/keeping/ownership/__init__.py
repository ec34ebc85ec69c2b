"""Ownership: which server may write a record, and how it proves that to the other servers."""
