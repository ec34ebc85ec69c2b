"""The files of TLS: read without ever asking on a terminal, and refused in OpenSSL's own words."""

import os
import re
import ssl
from pathlib import Path
from typing import Final

from realmkeep.errors import FileRefused
from realmkeep.files.private import read_file
from realmkeep.files.trust import refusal

CERTIFICATES_BYTES_MAX: Final = 16 * 1024 * 1024  # the authorities of a large company
_OPENSSL: Final = re.compile(r"^\[[A-Z]+(?:: \w+)?\] |\s*\(_ssl\.c:\d+\)$")


def openssl_words(error: BaseException | str) -> str:
    """What OpenSSL said, without the names and line numbers of its source."""
    return _OPENSSL.sub("", _OPENSSL.sub("", str(error))).strip()


def load_key_pair(context: ssl.SSLContext, certificate: Path, key: Path, password: str | None) -> None:
    """Load a certificate and its private key into a context. Blocks.

    Args:
        context: Of a server, or of a client that shows a certificate.
        certificate: File of the certificate and of those that lead to its authority.
        key: File of the private key; nobody else may read it.
        password: The passphrase of the key; None where it has none, and then nobody is asked for one.

    Raises:
        FileRefused: A file cannot be read, is no such thing, needs another passphrase, or does not belong to the other.
    """
    for path, is_secret in ((certificate, False), (key, True)):
        try:
            read_file(path, secret=is_secret)
        except OSError as error:
            raise refusal(path, error) from error
    asked: list[bool] = []

    def passphrase() -> str:
        asked.append(True)
        return password or ""

    try:
        context.load_cert_chain(certificate, key, passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:  # the last for a passphrase of more than 1,024 bytes
        if asked and password is None:
            raise FileRefused(
                f"the key in {key} has a passphrase, and none is given",
                hint="name the file that has it: tls_key_password_file",
            ) from error
        if asked:
            raise FileRefused(
                f"the passphrase does not open the key in {key}", hint="see tls_key_password_file"
            ) from None
        raise FileRefused(
            f"the certificate {certificate} and the key {key} cannot be used: {openssl_words(error) or error}",
            hint="both are PEM files, and the key is that of the first certificate",
        ) from error


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the authorities in a file. Blocks.

    Raises:
        FileRefused: It cannot be read, or has no certificate.
    """
    try:
        text = read_file(path, bytes_max=CERTIFICATES_BYTES_MAX).decode("ascii", "ignore")
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise FileRefused(
            f"{os.fspath(path)} has no certificates: {openssl_words(error)}", hint="a file with PEM certificates"
        ) from error
    except OSError as error:
        raise refusal(path, error) from error
