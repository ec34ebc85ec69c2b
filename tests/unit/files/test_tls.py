"""Certificates and keys: what is wrong with them is said, and nobody is asked on a terminal."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from realmkeep.errors import FileRefused, StorageMisconfigured
from realmkeep.files.tls import load_authorities, load_key_pair
from realmkeep.storage import open_storage

PHRASE = "open sesame"


class Pair:
    """A certificate that signed itself, and its key, with and without a passphrase."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "realm")])
        today = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - dt.timedelta(days=1))
            .not_valid_after(today + dt.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        self.certificate, self.key, self.locked = (
            directory / "cert.pem",
            directory / "key.pem",
            directory / "locked.pem",
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        for path, protection in (
            (self.key, serialization.NoEncryption()),
            (self.locked, serialization.BestAvailableEncryption(PHRASE.encode())),
        ):
            path.write_bytes(
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
            )
            path.chmod(0o600)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "tls")


@pytest.fixture
def context() -> ssl.SSLContext:
    return ssl.create_default_context()


def test_a_key_is_loaded_with_its_passphrase_and_never_asked_for(pair: Pair, context: ssl.SSLContext) -> None:
    load_key_pair(context, pair.certificate, pair.key, None)
    load_key_pair(context, pair.certificate, pair.locked, PHRASE)
    with pytest.raises(FileRefused, match=r"has a passphrase, and none is given .*tls_key_password_file"):
        load_key_pair(context, pair.certificate, pair.locked, None)
    with pytest.raises(FileRefused, match="does not open the key"):
        load_key_pair(context, pair.certificate, pair.locked, "wrong")
    with pytest.raises(FileRefused, match="does not open the key"):
        load_key_pair(context, pair.certificate, pair.locked, "x" * 2000)


def test_what_is_wrong_with_the_files_is_said(pair: Pair, context: ssl.SSLContext, tmp_path: Path) -> None:
    other = Pair(tmp_path / "other")
    with pytest.raises(FileRefused, match="key values mismatch"):
        load_key_pair(context, pair.certificate, other.key, None)
    with pytest.raises(FileRefused, match="absent"):
        load_key_pair(context, tmp_path / "absent", pair.key, None)
    with pytest.raises(FileRefused, match="cannot be used"):
        load_key_pair(context, pair.key, pair.key, None)
    pair.key.chmod(0o644)
    with pytest.raises(FileRefused, match="can be read by other users"):
        load_key_pair(context, pair.certificate, pair.key, None)
    load_authorities(context, pair.certificate)
    with pytest.raises(FileRefused, match="has no certificates"):
        load_authorities(context, pair.locked)
    with pytest.raises(FileRefused, match="absent"):
        load_authorities(context, tmp_path / "absent")


@pytest.mark.backend("valkey")
async def test_a_store_with_such_a_key_is_refused_with_the_sentence(pair: Pair) -> None:
    url = f"rediss://h:1/0?tls_cert={pair.certificate}&tls_key={pair.locked}"
    with pytest.raises(StorageMisconfigured, match="has a passphrase, and none is given"):
        await open_storage(url).connect()
