"""Accounts, passwords, sealed credentials and resume tickets."""

from realmkeep.accounts.account import Account, Ban, CharacterId
from realmkeep.accounts.account_watch import FollowedLogin
from realmkeep.accounts.accounts import Accounts, open_accounts
from realmkeep.accounts.credentials import Credentials
from realmkeep.accounts.login import Login
from realmkeep.accounts.passwords import Argon2Cost, HashCost, Pbkdf2Cost, hash_password, verify_password
from realmkeep.accounts.sealed_payloads import OpenedPayload, SealedRequest, decrypt_auth_payload, encrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys, get_server_public_key, init_server_encryption
from realmkeep.accounts.usernames import fold_username
from realmkeep.errors import AuthFailed

__all__ = [
    "Account",
    "Accounts",
    "Argon2Cost",
    "AuthFailed",
    "Ban",
    "CharacterId",
    "Credentials",
    "FollowedLogin",
    "HashCost",
    "Login",
    "OpenedPayload",
    "Pbkdf2Cost",
    "SealedRequest",
    "ServerKeys",
    "decrypt_auth_payload",
    "encrypt_auth_payload",
    "fold_username",
    "get_server_public_key",
    "hash_password",
    "init_server_encryption",
    "open_accounts",
    "verify_password",
]
