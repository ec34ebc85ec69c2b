"""Accounts, passwords, sealed credentials and resume tickets."""

from realmkeep.accounts.accounts import Accounts, Login, open_accounts
from realmkeep.accounts.names import fold_username
from realmkeep.accounts.sealed import OpenedPayload, SealedRequest, encrypt_auth_payload

__all__ = [
    "Accounts",
    "Login",
    "OpenedPayload",
    "SealedRequest",
    "encrypt_auth_payload",
    "fold_username",
    "open_accounts",
]
