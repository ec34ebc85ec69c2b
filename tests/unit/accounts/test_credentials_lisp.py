"""Password hashes and sealed payloads against the specification's own library: SBCL with ironclad."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from realmkeep.accounts import passwords
from realmkeep.accounts.passwords import verify_password
from realmkeep.accounts.sealed_payloads import decrypt_auth_payload, encrypt_auth_payload
from realmkeep.accounts.server_keys import init_server_encryption

SCRIPT = Path(__file__).parents[2] / "lisp" / "credentials.lisp"
PASSWORDS = ["secret", "pässwörd — 龍 " + "x" * 900]
MESSAGES = [b'(:TYPE :LOGIN :USERNAME "player1" :PASSWORD "secret" :TIMESTAMP 1767225600)', b"{}", b"x" * 5000]

Lisp = Callable[..., str]

pytestmark = pytest.mark.needs("sbcl", "ironclad")


@pytest.fixture(scope="module")
def lisp() -> Iterator[Lisp]:
    """One SBCL that answers commands. Its first start on a machine compiles ironclad, which takes a minute."""
    command = ["sbcl", "--noinform", "--non-interactive", "--no-sysinit", "--no-userinit", "--load", str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sbcl:
        assert sbcl.stdin is not None
        assert sbcl.stdout is not None
        stdin, stdout = sbcl.stdin, sbcl.stdout

        def ask(*words: str) -> str:
            stdin.write(" ".join(words) + "\n")
            stdin.flush()
            answer = stdout.readline().rstrip("\n")
            assert answer, f"SBCL died of {words[0]}"
            return answer

        yield ask
        stdin.close()


def v2_hash(password: str) -> str:
    """Our PBKDF2 in the specification's format."""
    salt = bytes(range(16))
    key = passwords._derive(password.encode(), salt, passwords.Pbkdf2Cost(passwords.V2_ITERATIONS), 32)  # pyright: ignore[reportPrivateUsage] - new hashes have another format
    return f"{salt.hex()}${key.hex()}"


@pytest.mark.parametrize("password", PASSWORDS)
def test_ironclad_and_realmkeep_verify_each_others_password_hashes(lisp: Lisp, password: str) -> None:
    typed = password.encode().hex()
    ours = v2_hash(password)
    assert lisp("verify", typed, ours) == "yes"
    theirs = lisp("hash", typed)
    assert verify_password(password, theirs)
    assert not verify_password(password + "x", theirs)


def test_ironclad_refuses_another_password(lisp: Lisp) -> None:
    assert lisp("verify", b"Secret".hex(), v2_hash("secret")) == "no"


@pytest.mark.parametrize("message", MESSAGES)
def test_ironclad_opens_what_realmkeep_seals(lisp: Lisp, tmp_path: Path, message: bytes) -> None:
    keys = init_server_encryption(tmp_path / "keys")
    private = keys.usable()[0].private_bytes_raw().hex()
    payload = encrypt_auth_payload(message, keys.public_key).payload
    assert lisp("open", private, payload) == message.hex()
    changed = payload[:-1] + ("0" if payload[-1] != "0" else "1")
    assert lisp("open", private, changed) == "refused"


@pytest.mark.parametrize("message", MESSAGES)
def test_realmkeep_opens_what_ironclad_seals_and_seals_the_ticket_for_it(
    lisp: Lisp, tmp_path: Path, message: bytes
) -> None:
    keys = init_server_encryption(tmp_path / "keys")
    payload, key = lisp("seal", keys.public_key, message.hex()).split(" ")
    opened = decrypt_auth_payload(payload, keys)
    assert opened.plaintext == message
    ticket = bytes.fromhex(opened.seal_ticket("ada.00ff"))
    assert AESGCM(bytes.fromhex(key)).decrypt(ticket[:12], ticket[12:], None) == b"ada.00ff"
