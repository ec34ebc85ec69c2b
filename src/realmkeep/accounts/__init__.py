"""Accounts, passwords, sealed credentials and resume tickets."""
