"""The shim between a store and its disk."""
