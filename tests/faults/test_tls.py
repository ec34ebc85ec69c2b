"""TLS on a Redis of the machine, alone and as a cluster; the wheel's Valkey is built without it."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from realmkeep.errors import StorageError, StorageMisconfigured
from realmkeep.operations.doctor import examine
from realmkeep.storage import Committed, Put, Transaction, open_storage
from realmkeep.storage.replicated.address import SLOTS
from realmkeep.testing.replicated import cluster_lines, free_ports, wait_until
from realmkeep.testing.servers import StoreServer
from suite.engines import needed

pytestmark = pytest.mark.needs("redis-server")


@dataclass
class Certificates:
    """An authority, and a certificate of this machine that it has signed."""

    authority: Path
    certificate: Path
    key: Path


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs_certificates, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def signed(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> bytes:
    today = dt.datetime.now(dt.UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        # Python 3.13 and later ask for the last three.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(key_usage(signs_certificates=is_authority), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = Certificates(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    made.authority.write_bytes(signed("authority", authority_key, "authority", authority_key, is_authority=True))
    made.certificate.write_bytes(signed("localhost", key, "authority", authority_key, is_authority=False))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture
def tls_port(tmp_path: Path, certificates: Certificates, new_server: Callable[..., StoreServer]) -> int:
    port = free_ports(1)
    extra = (
        f"bind 127.0.0.1\ntls-port {port}\ntls-cert-file {certificates.certificate}\ntls-key-file {certificates.key}\n"
        f"tls-ca-cert-file {certificates.authority}\ntls-auth-clients yes\n"
    )
    directory = tmp_path / "store"
    directory.mkdir()
    server = new_server(directory, binary=needed("redis-server"), extra=extra)
    assert server.ask("CONFIG", "SET", "requirepass", "s3cr3t") == b"OK"
    return port


async def test_tls_with_a_client_certificate_and_a_password(tls_port: int, certificates: Certificates) -> None:
    files = f"tls_ca={certificates.authority}&tls_cert={certificates.certificate}&tls_key={certificates.key}"
    storage = open_storage(f"rediss://:s3cr3t@localhost:{tls_port}/1?{files}")
    await storage.connect()
    batch = [Transaction((), (Put(f"k{number}", b"x" * 5000),)) for number in range(500)]
    assert await storage.write(batch) == [Committed()] * len(batch)
    assert await storage.load("k499") == b"x" * 5000
    await storage.disconnect()


@pytest.fixture
def tls_cluster(tmp_path: Path, certificates: Certificates, new_server: Callable[..., StoreServer]) -> int:
    """The first of two ports: a primary with all slots, and its replica."""
    first = free_ports(2)
    lines = (
        "bind 127.0.0.1", f"tls-cert-file {certificates.certificate}", f"tls-key-file {certificates.key}",
        f"tls-ca-cert-file {certificates.authority}", "tls-auth-clients yes", "tls-cluster yes", "tls-replication yes",
    )  # fmt: skip

    def started(port: int) -> StoreServer:
        directory = tmp_path / f"node-{port}"
        directory.mkdir()
        extra = "".join(f"{line}\n" for line in (f"tls-port {port}", *lines, *cluster_lines()))
        return new_server(directory, binary=needed("redis-server"), extra=extra)

    primary, replica = started(first), started(first + 1)
    primary.ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    replica.ask("CLUSTER", "MEET", "127.0.0.1", first)
    wait_until(lambda: knows_two(primary) and knows_two(replica), "they did not meet")
    replica.ask("CLUSTER", "REPLICATE", told(primary, "CLUSTER", "MYID"))
    wait_until(lambda: b"state=online" in told(primary, "INFO", "replication"), "the replica does not follow")
    for server in (primary, replica):
        wait_until(lambda server=server: b"cluster_state:ok" in told(server, "CLUSTER", "INFO"), "the cluster is down")
    return first


def told(server: StoreServer, *command: str) -> bytes:
    answer = server.ask(*command)
    assert isinstance(answer, bytes)
    return answer


def knows_two(server: StoreServer) -> bool:
    nodes = told(server, "CLUSTER", "NODES")
    return len(nodes.splitlines()) == 2 and b"handshake" not in nodes


async def test_a_cluster_that_speaks_tls_alone_among_its_servers_and_with_clients(
    tls_cluster: int, certificates: Certificates
) -> None:
    files = f"tls_ca={certificates.authority}&tls_cert={certificates.certificate}&tls_key={certificates.key}"
    storage = open_storage(f"rediss-cluster://127.0.0.1:{tls_cluster + 1},127.0.0.1:{tls_cluster}/north?{files}")
    await storage.connect()
    assert storage.capability.survives_node_loss
    batch = [Transaction((), (Put(f"k{number}", b"x" * 5000),)) for number in range(100)]
    assert await storage.write(batch) == [Committed()] * len(batch)
    assert await storage.load("k99") == b"x" * 5000
    await storage.disconnect()
    with pytest.raises(StorageMisconfigured, match="tls_ca"):
        await open_storage(f"rediss-cluster://127.0.0.1:{tls_cluster}/north").connect()


async def test_doctor_examines_a_store_over_tls(tls_port: int, certificates: Certificates) -> None:
    files = f"tls_ca={certificates.authority}&tls_cert={certificates.certificate}&tls_key={certificates.key}"
    report = await examine(f"rediss://:s3cr3t@localhost:{tls_port}/1?{files}")
    assert (report.outcome, "s3cr3t" in f"{report}") == ("examined", False)
    assert {"open-to-the-machine", "not-encrypted"}.isdisjoint(finding.name for finding in report.findings)
    unknown = await examine(f"rediss://:s3cr3t@localhost:{tls_port}")
    assert unknown.outcome == "misconfigured"


async def test_a_server_of_an_unknown_authority_is_refused(tls_port: int) -> None:
    with pytest.raises(StorageMisconfigured, match="tls_ca"):
        await open_storage(f"rediss://:s3cr3t@localhost:{tls_port}").connect()


async def test_plain_text_to_a_tls_port_fails_and_hangs_nobody(tls_port: int) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(StorageError):
            await open_storage(f"redis://:s3cr3t@localhost:{tls_port}").connect()
