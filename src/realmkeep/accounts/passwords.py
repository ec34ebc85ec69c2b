"""Password hashes: making them, verifying passwords, and finding hashes to renew.

Three formats are read. `salt$hash` in hexadecimal is the specification's: PBKDF2-SHA256, 100,000 iterations. The others are
PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash` (RFC 9106), the default, and `$pbkdf2-sha256$i=600000$salt$hash`
(RFC 8018). The parameters are those of the OWASP Password Storage Cheat Sheet.

The hash covers the UTF-8 bytes of the password's NFC form (RFC 8265, OpaqueString), so that keyboards that encode a character
differently give the same hash. The specification does not define its input: for its hashes the bytes as typed are tried first,
then NFC.
"""

import base64
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from realmkeep.errors import MalformedHash

SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
V2_ITERATIONS: Final = 100_000
MEMORY_KIB_MAX: Final = 256 * 1024  # a stored hash with more is an attack or a flipped bit
PASSES_MAX: Final = 32
LANES_MAX: Final = 8
ITERATIONS_MAX: Final = 10_000_000  # about 1.5 s

_MEND: Final = "restore the account from a backup, or give it a new password"
_V2 = re.compile(r"([0-9a-fA-F]{32})\$([0-9a-fA-F]{64})")
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
_PBKDF2 = re.compile(r"\$pbkdf2-sha256\$i=([0-9]{1,8})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})")


@dataclass(frozen=True)
class Argon2Cost:
    """The cost of one Argon2id hash.

    Attributes:
        memory_kib: Memory during the computation, in KiB.
        passes: Passes over that memory.
        lanes: Independent lanes; one thread computes them all.
    """

    memory_kib: int = 19_456  # 19 MiB: OWASP's first recommendation
    passes: int = 2
    lanes: int = 1


@dataclass(frozen=True)
class Pbkdf2Cost:
    """The cost of one PBKDF2-SHA256 hash, for rules that demand a FIPS-approved function."""

    iterations: int = 600_000  # OWASP


HashCost: TypeAlias = Argon2Cost | Pbkdf2Cost


@dataclass(frozen=True, repr=False)
class _ParsedHash:
    cost: HashCost
    salt: bytes
    key: bytes
    legacy: bool = False


def hash_password(password: str, cost: HashCost = Argon2Cost()) -> str:
    """Hash a password with a fresh salt; takes tens of milliseconds of a core, and is safe on a thread.

    Args:
        password: Any text; `PasswordRules` has the rules for new passwords.
        cost: The function and its parameters.

    Returns:
        The PHC string to store.
    """
    salt = secrets.token_bytes(SALT_BYTES)
    return _text(cost, salt, _derive(_canonical(password), salt, cost, KEY_BYTES))


def verify_password(password: str, stored: str) -> bool:
    """Whether a password matches a stored hash; the comparison takes constant time.

    Args:
        password: The password as typed.
        stored: A hash in any of the three formats.

    Raises:
        MalformedHash: `stored` is in no known format, or demands more work than allowed.
    """
    parsed = _parse(stored)
    candidates = [_canonical(password)]
    typed = password.encode("utf-8", "surrogatepass")
    if parsed.legacy and typed != candidates[0]:
        candidates.insert(0, typed)
    matches = [
        hmac.compare_digest(_derive(each, parsed.salt, parsed.cost, len(parsed.key)), parsed.key) for each in candidates
    ]
    return any(matches)


def needs_rehash(stored: str, cost: HashCost = Argon2Cost()) -> bool:
    """Whether a stored hash is older or weaker than a new one of `cost`; a stronger one needs no renewal.

    Args:
        stored: A hash in any of the three formats.
        cost: The function and parameters of new hashes.

    Raises:
        MalformedHash: `stored` is in no known format.
    """
    parsed = _parse(stored)
    match parsed.cost, cost:
        case Argon2Cost() as was, Argon2Cost() as now:
            return was.memory_kib < now.memory_kib or was.passes < now.passes
        case Pbkdf2Cost() as was, Pbkdf2Cost() as now:
            return parsed.legacy or was.iterations < now.iterations
        case was, _:
            return isinstance(was, Pbkdf2Cost)


def dummy_hash(cost: HashCost) -> str:
    """A hash that no password matches, for the passwords of unknown users: checking it costs as much as a real one."""
    return _text(cost, secrets.token_bytes(SALT_BYTES), secrets.token_bytes(KEY_BYTES))


def _text(cost: HashCost, salt: bytes, key: bytes) -> str:
    if isinstance(cost, Argon2Cost):
        parameters = f"argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}"
    else:
        parameters = f"pbkdf2-sha256$i={cost.iterations}"
    return f"${parameters}${_encode(salt)}${_encode(key)}"


def _canonical(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _derive(password: bytes, salt: bytes, cost: HashCost, key_bytes: int) -> bytes:
    if isinstance(cost, Argon2Cost):
        return Argon2id(
            salt=salt,
            length=key_bytes,
            iterations=cost.passes,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        ).derive(password)
    return PBKDF2HMAC(SHA256(), key_bytes, salt, cost.iterations).derive(password)


def _parse(stored: str) -> _ParsedHash:
    if match := _V2.fullmatch(stored):
        return _ParsedHash(Pbkdf2Cost(V2_ITERATIONS), bytes.fromhex(match[1]), bytes.fromhex(match[2]), legacy=True)
    if match := _ARGON2ID.fullmatch(stored):
        cost = Argon2Cost(int(match[1]), int(match[2]), int(match[3]))
        if not (1 <= cost.lanes <= LANES_MAX and 1 <= cost.passes <= PASSES_MAX):
            raise MalformedHash("a stored Argon2id hash has passes or lanes out of range", hint=_MEND)
        if not 8 * cost.lanes <= cost.memory_kib <= MEMORY_KIB_MAX:
            raise MalformedHash(f"a stored Argon2id hash asks for {cost.memory_kib} KiB of memory", hint=_MEND)
        return _ParsedHash(cost, _decode(match[4]), _decode(match[5]))
    if match := _PBKDF2.fullmatch(stored):
        iterations = int(match[1])
        if not 1 <= iterations <= ITERATIONS_MAX:
            raise MalformedHash(f"a stored PBKDF2 hash asks for {iterations} iterations", hint=_MEND)
        return _ParsedHash(Pbkdf2Cost(iterations), _decode(match[2]), _decode(match[3]))
    raise MalformedHash(
        f"a stored password hash of {len(stored)} characters is in no known format",
        hint=_MEND,
    )


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """PHC's base64: without padding.

    Raises:
        MalformedHash: The length is impossible for base64.
    """
    if len(text) % 4 == 1:
        raise MalformedHash("a stored password hash has base64 of an impossible length", hint=_MEND)
    return base64.b64decode(text + "=" * (-len(text) % 4))
