"""The server's static X25519 keys: kept in a file across restarts, rotated with an overlap during which both work.

The file is JSON, readable by its owner alone (0600); the newest key comes first:

```json
{"version": 1, "keys": [{"private_key": "<64 hex>", "retires_s": null}, {"private_key": "<64 hex>", "retires_s": 1767312000}]}
```
"""

import logging
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import BadSealingKey, FileRefused
from realmkeep.files import create_file, make_directory, read_file, replace_file

OVERLAP_S: Final = 7 * 24 * 3600.0  # a week for clients with the public key in their configuration

log = logging.getLogger("realmkeep.accounts")


class _StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    private_key: str
    retires_s: int | None = None

    def __repr__(self) -> str:
        return f"_StoredKey(retires_s={self.retires_s})"


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    keys: list[_StoredKey]


class ServerKeys:
    """The keys that open sealed payloads. Make it with `init_server_encryption`.

    Methods that use the file block: call them before the event loop starts, or on a thread.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._keys: list[tuple[X25519PrivateKey, int | None]] = []

    def __repr__(self) -> str:
        return f"ServerKeys({str(self._path)!r}, public_key={self.public_key!r})"

    @property
    def public_key(self) -> str:
        """The newest public key in hexadecimal; clients seal with it."""
        return self._keys[0][0].public_key().public_bytes_raw().hex()

    def usable(self) -> list[X25519PrivateKey]:
        """The private keys that are valid now, the newest first."""
        now_s = self._clock.wall_us() // 1_000_000
        return [key for key, retires_s in self._keys if retires_s is None or now_s < retires_s]

    def reload(self) -> None:
        """Read the file again, because another server or the operator may have rotated the key.

        Raises:
            BadSealingKey: The file is unreadable, malformed, or open to other users; the keys in use stay as they are.
        """
        self._keys = [
            (X25519PrivateKey.from_private_bytes(bytes.fromhex(key.private_key)), key.retires_s)
            for key in _read(self._path)
        ]

    def rotate(self, *, overlap_s: float = OVERLAP_S) -> None:
        """Make a new key and write the file; the present key stays valid for `overlap_s` seconds.

        Raises:
            BadSealingKey: The file cannot be read or written; nothing was changed.
        """
        now_s = self._clock.wall_us() // 1_000_000
        retires_s = now_s + int(overlap_s)
        kept = [
            _StoredKey(key.private_key, retires_s if key.retires_s is None else min(key.retires_s, retires_s))
            for key in _read(self._path)
            if key.retires_s is None or key.retires_s > now_s
        ]
        _write(self._path, [_StoredKey(secrets.token_hex(32)), *kept], replace=True)
        self.reload()


def init_server_encryption(path: Path | str, *, clock: Clock | None = None) -> ServerKeys:
    """Load the server's keys from `path`, creating the file (0600) if absent, and log the public key for clients.

    Args:
        path: The key file; servers of one realm may share it.
        clock: Decides whether an old key has retired; None: the system's.

    Raises:
        BadSealingKey: The file is unreadable, malformed, or open to other users of the machine.
    """
    path = Path(path)
    if not path.exists():
        with suppress(FileExistsError):  # another server has created it meanwhile: use its key
            _write(path, [_StoredKey(secrets.token_hex(32))], replace=False)
    keys = ServerKeys(path, clock or SystemClock())
    keys.reload()
    log.info("SERVER: Auth encryption enabled. Public key: %s", keys.public_key)
    return keys


def get_server_public_key(keys: ServerKeys) -> str:
    """The public key that clients seal with, in hexadecimal."""
    return keys.public_key


def _read(path: Path) -> list[_StoredKey]:
    try:
        stored = msgspec.json.decode(read_file(path, secret=True), type=_KeyFile)
        if stored.version != 1 or not stored.keys or stored.keys[0].retires_s is not None:
            raise BadSealingKey(f"{path} is not a key file of version 1 with a current key", hint="restore it")
        if any(len(bytes.fromhex(key.private_key)) != 32 for key in stored.keys):
            raise BadSealingKey(f"{path} holds a key that is not 32 bytes long", hint="restore it")
    except FileRefused as error:
        raise BadSealingKey(error.message, hint=error.hint) from error
    except OSError as error:
        raise BadSealingKey(f"{path} cannot be read: {error.strerror}", hint="check path and permissions") from error
    except ValueError:  # not chained: the text of such an error can quote the file
        raise BadSealingKey(f"{path} is not a key file", hint="restore it, or remove it for a new key") from None
    return stored.keys


def _write(path: Path, keys: list[_StoredKey], *, replace: bool) -> None:
    """Write the file atomically; it is on disk when this returns.

    Raises:
        FileExistsError: The file exists, and `replace` is false.
        BadSealingKey: The file cannot be written.
    """
    content = msgspec.json.encode(_KeyFile(1, keys))
    try:
        make_directory(path.parent)
        if replace:
            replace_file(path, content)
        else:
            create_file(path, content)
    except FileExistsError:
        raise
    except FileRefused as error:
        raise BadSealingKey(error.message, hint=error.hint) from error
    except OSError as error:
        raise BadSealingKey(f"{path} cannot be written: {error.strerror}", hint="check the directory") from error
