"""Where it is kept: the Storage protocol and one module for each backend. Sees keys and bytes, never a record."""
