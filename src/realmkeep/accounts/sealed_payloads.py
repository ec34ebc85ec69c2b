"""Sealed credentials, both sides: X25519 with the server's static key, SHA-256 of the shared secret, AES-256-GCM.

The payload is hexadecimal of `ephemeral public key (32) || nonce (12) || ciphertext || tag (16)`, without associated data, as
in the specification, so that its clients work. Three rules go beyond the primitives:

- A shared secret of zeros (from a public key of small order) is refused, as RFC 7748, section 6.1, allows.
- A public key must be the canonical encoding of its point: X25519 ignores the top bit and reduces the rest, so a payload would
  have several spellings.
- A payload is identified by its secret and ciphertext, never by its public key: adding a point of small order changes the
  public key and leaves the secret as it is.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from realmkeep.accounts.server_keys import ServerKeys
from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import BadSealingKey, SealBroken

PUBLIC_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PAYLOAD_BYTES_MIN: Final = PUBLIC_KEY_BYTES + NONCE_BYTES + 1 + TAG_BYTES
PAYLOAD_BYTES_MAX: Final = 8 * 1024  # in hexadecimal it fills the protocol's longest message of 16 KiB
_FIELD_PRIME: Final = 2**255 - 19


class SealedRequest:
    """A client's sealed payload, with the key that opens the answer.

    Attributes:
        payload: The `encrypted_payload` of a `login` or `register`.
    """

    def __init__(self, payload: str, key: bytes) -> None:
        self.payload = payload
        self._key = key

    def open_ticket(self, sealed_ticket: str) -> str:
        """The ticket in the server's answer.

        Raises:
            SealBroken: The ticket was sealed for another request, or was changed on the way.
        """
        raw = _unhex(sealed_ticket)
        return _decrypt(self._key, raw[:NONCE_BYTES], raw[NONCE_BYTES:]).decode()


class OpenedPayload:
    """A sealed payload that the server has opened.

    Attributes:
        plaintext: The message inside, in either syntax.
        digest: Identifies the payload, in every spelling of its public key.
    """

    def __init__(self, plaintext: bytes, key: bytes, digest: str) -> None:
        self.plaintext = plaintext
        self.digest = digest
        self._key = key

    def __repr__(self) -> str:
        return f"OpenedPayload({self.digest})"

    def seal_ticket(self, ticket: str) -> str:
        """Seal a ticket for the client of this payload; returns the `sealed_ticket`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return (nonce + AESGCM(self._key).encrypt(nonce, ticket.encode(), None)).hex()


def encrypt_auth_payload(
    message: Mapping[str, object] | bytes,
    server_public_key: str,
    *,
    clock: Clock | None = None,
) -> SealedRequest:
    """Seal credentials for a server.

    Args:
        message: `username` and `password`, or `ticket`. A mapping is sent as JSON, with the present `timestamp` if it has
            neither `timestamp` nor `challenge`; bytes are a finished message in either syntax.
        server_public_key: 64 hexadecimal digits, from `welcome` or the client's configuration.
        clock: The clock of the timestamp; None: the system's.

    Raises:
        BadSealingKey: `server_public_key` is no X25519 public key.
    """
    if not isinstance(message, bytes):
        now_s = (clock or SystemClock()).wall_us() // 1_000_000
        fresh = {} if {"timestamp", "challenge"} & message.keys() else {"timestamp": now_s}
        message = msgspec.json.encode({**message, **fresh})
    try:
        raw_key = _unhex(server_public_key)
        ephemeral = X25519PrivateKey.generate()
        key = _session_key(ephemeral, raw_key)
    except SealBroken:
        raise BadSealingKey(
            "the server's public key is not an X25519 public key",
            hint="64 hexadecimal digits, as the server prints them",
        ) from None
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, message, None)
    return SealedRequest((ephemeral.public_key().public_bytes_raw() + nonce + sealed).hex(), key)


def decrypt_auth_payload(payload: str, keys: ServerKeys) -> OpenedPayload:
    """Open a sealed payload with the server's current key, or with an older key in its overlap.

    This does not check freshness; `SealedLogins` does.

    Args:
        payload: The `encrypted_payload` of the request.
        keys: The server's keys.

    Raises:
        SealBroken: The payload is not hexadecimal, has a wrong length or a bad public key, was sealed for another server, or
            was changed.
    """
    raw = _unhex(payload)
    if not PAYLOAD_BYTES_MIN <= len(raw) <= PAYLOAD_BYTES_MAX:
        raise SealBroken
    point, rest = raw[:PUBLIC_KEY_BYTES], raw[PUBLIC_KEY_BYTES:]
    nonce, sealed = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
    for private_key in keys.usable():
        key = _session_key(private_key, point)
        try:
            plaintext = _decrypt(key, nonce, sealed)
        except SealBroken:
            continue
        return OpenedPayload(plaintext, key, hashlib.sha256(key + nonce + sealed).hexdigest())
    raise SealBroken


def _session_key(private_key: X25519PrivateKey, public_key: bytes) -> bytes:
    if len(public_key) != PUBLIC_KEY_BYTES or int.from_bytes(public_key, "little") >= _FIELD_PRIME:
        raise SealBroken
    try:
        shared = private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:  # the shared secret is all zeros
        raise SealBroken from None
    return hashlib.sha256(shared).digest()


def _decrypt(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError):  # ValueError: the nonce is too short
        raise SealBroken from None


def _unhex(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise SealBroken from None
    if len(text) != 2 * len(raw):  # fromhex skips blanks
        raise SealBroken
    return raw
