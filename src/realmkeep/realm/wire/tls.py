"""TLS for TCP: a certificate that is read again when its files change, and handshakes at a pace that spares the tick."""

import ssl
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, Protocol

from cryptography import x509

from realmkeep.background import Background
from realmkeep.clock import Clock, Timer
from realmkeep.errors import ConfigError, FileRefused
from realmkeep.files import read_file
from realmkeep.realm.wire.limits import TokenBucket

HANDSHAKE_S: Final = 10.0  # a client that has not finished by then is disconnected
HANDSHAKES_PER_S: Final = 100.0  # each costs up to 2 ms of a core with an RSA key; further ones wait
HANDSHAKES_BURST: Final = 32.0
PACE_S: Final = 0.02

_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "EE_KEY_TOO_SMALL": "the key is too short for this OpenSSL",
    "CA_MD_TOO_WEAK": "the certificate is signed with a hash that this OpenSSL considers broken",
}
NO_PEM: Final = "one of them is no valid PEM file of its kind"


class TlsConnection(Protocol):
    """A connection that waits for its handshake."""

    @property
    def ended(self) -> bool:
        """Whether the connection has ended or is ending."""
        ...

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin the handshake."""
        ...


class Certificate:
    """A certificate and its key.

    Args:
        certificate: A PEM file: the certificate, then its chain.
        key: A PEM file; it may be the same one.
        password: The password of the key; empty if it has none.

    Attributes:
        path: The file of the certificate.
        context: The context of new handshakes.

    Raises:
        ConfigError: A file cannot be used, or the files do not fit together.
    """

    def __init__(self, certificate: Path, key: Path, password: str = "") -> None:
        self.path = certificate
        self._key = key
        self._password = password
        self._seen = self._signature()
        self.context = self._read()

    def reread(self) -> bool:
        """Read the files again if they have changed; returns whether they had. Blocks.

        Raises:
            ConfigError: The new files cannot be used; the earlier certificate stays in use.
        """
        seen = self._signature()
        if seen == self._seen:
            return False
        self._seen = seen
        self.context = self._read()
        return True

    def expired_since(self, clock: Clock) -> datetime | None:
        """The time at which the certificate expired; None while it is valid. Blocks."""
        ends = x509.load_pem_x509_certificate(read_file(self.path)).not_valid_after_utc
        return ends if ends.timestamp() * 1e6 < clock.wall_us() else None

    def _signature(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in (self.path, self._key):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return found

    def _read(self) -> ssl.SSLContext:
        """A context from the files as they are now.

        Raises:
            ConfigError: A file cannot be read, or the files do not fit together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # otherwise a client could demand handshakes without end
        for path, secret in ((self.path, False), (self._key, True)):
            _check_file(path, secret=secret)
        asked: list[bool] = []

        def password() -> str:
            asked.append(True)
            return self._password or _no_password(self._key)  # with a callback, OpenSSL does not ask on the terminal

        try:
            context.load_cert_chain(self.path, self._key, password)
        except ssl.SSLError as error:
            why = "the password of the key is wrong" if asked else _REASONS.get(error.reason or "", NO_PEM)
            raise ConfigError(
                f"the TLS files {self.path} and {self._key} cannot be used: {why}",
                hint="a certificate with its chain and its private key, both in PEM",
            ) from error
        return context


def _check_file(path: Path, *, secret: bool) -> None:
    try:
        read_file(path, secret=secret)
    except FileRefused as refused:
        raise ConfigError(f"the TLS file cannot be used: {refused.message}", hint=refused.hint) from refused
    except OSError as error:
        raise ConfigError(
            f"the TLS file {path} cannot be used: {error.strerror}", hint="see --tls-cert and --tls-key"
        ) from error


def _no_password(key: Path) -> NoReturn:
    raise ConfigError(
        f"the TLS key {key} has a password, and none is set",
        hint="set network.tls_key_password_file, or network.tls_key_password",
    )


class HandshakeQueue:
    """Starts the TLS handshakes in the order of their connections, `HANDSHAKES_PER_S` of them a second.

    A flood of handshakes that never finish is bounded by the connections of each network and by `HANDSHAKE_S`; a flood of
    handshakes that do is bounded by this pace.

    Args:
        context: Gives the context of new handshakes.
        tasks: Runs the handshakes.
        clock: Paces the handshakes.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], tasks: Background, clock: Clock) -> None:
        self.tasks = tasks
        self._context = context
        self._clock = clock
        self._bucket = TokenBucket(clock.monotonic_s(), rate_per_s=HANDSHAKES_PER_S, burst=HANDSHAKES_BURST)
        self._waiting = deque[TlsConnection]()
        self._next: Timer | None = None

    def begin(self, connection: TlsConnection) -> None:
        """Begin the handshake of a connection now, or when its turn comes."""
        self._waiting.append(connection)
        if self._next is None:
            self._go_on()

    def _go_on(self) -> None:
        self._next = None
        while self._waiting:
            if self._waiting[0].ended:
                self._waiting.popleft()
            elif self._bucket.take(self._clock.monotonic_s()):
                self._waiting.popleft().secure(self._context())
            else:
                self._next = self._clock.call_later(PACE_S, self._go_on)
                return
