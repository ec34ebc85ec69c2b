"""The files of TLS: they are read without ever prompting on a terminal, and refused in OpenSSL's own words."""

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
    """Return OpenSSL's message without the names and line numbers of its source."""
    return _OPENSSL.sub("", _OPENSSL.sub("", str(error))).strip()


def load_key_pair(context: ssl.SSLContext, certificate: Path, key: Path, password: str | None) -> None:
    """Load a certificate and its private key into a context. Blocks.

    Args:
        context: The context of a server, or of a client with a certificate.
        certificate: File of the certificate and the chain to its authority.
        key: File of the private key; no other user may read it.
        password: The passphrase of the key; None if it has none. OpenSSL never prompts for one.

    Raises:
        FileRefused: A file cannot be read, is not such a file, needs another passphrase, or does not match the other.
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
                hint="name its file with tls_key_password_file",
            ) from error
        if asked:
            raise FileRefused(
                f"the passphrase does not open the key in {key}", hint="check tls_key_password_file"
            ) from None
        raise FileRefused(
            f"the certificate {certificate} and the key {key} cannot be used: {openssl_words(error) or error}",
            hint="both must be PEM files, and the key must be that of the first certificate",
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
            f"{os.fspath(path)} has no certificates: {openssl_words(error)}", hint="give a file with PEM certificates"
        ) from error
    except OSError as error:
        raise refusal(path, error) from error
