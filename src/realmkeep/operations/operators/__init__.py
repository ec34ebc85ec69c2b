"""Operators: their accounts and roles, their acts on players and accounts, and the audit trail of all acts."""
