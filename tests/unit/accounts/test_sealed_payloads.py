"""Known answers with their sources; tampering, small-order points, other spellings of a public key; nothing secret in text.

The known answers were compared with their sources as other libraries' tests print them, and with ironclad.
"""

import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.accounts.sealed_payloads import (
    PAYLOAD_BYTES_MAX,
    decrypt_auth_payload,
    encrypt_auth_payload,
)
from realmkeep.accounts.server_keys import ServerKeys, get_server_public_key, init_server_encryption
from realmkeep.errors import BadSealingKey, SealBroken
from realmkeep.testing.clock import FakeClock

P = 2**255 - 19
# The points of small order and their other encodings below 2^256: https://cr.yp.to/ecdh.html#validate
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
    P + 325606250916557431795983626356110631294008115727848805560023387167927233504,
    2 * P - 1,
    2 * P,
    2 * P + 1,
]
# RFC 7748, section 6.1: Alice's public key, Bob's two, and what they share
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOB_PRIVATE = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> ServerKeys:
    return init_server_encryption(tmp_path_factory.mktemp("keys") / "server-keys.json")


def keys_with(path: Path, private_key: str) -> ServerKeys:
    path.write_bytes(msgspec.json.encode({"version": 1, "keys": [{"private_key": private_key}]}))
    path.chmod(0o600)
    return init_server_encryption(path)


def test_the_key_is_the_hash_of_the_shared_secret_of_rfc_7748(tmp_path: Path) -> None:
    keys = keys_with(tmp_path / "bob", BOB_PRIVATE)
    assert get_server_public_key(keys) == BOB_PUBLIC
    key = hashlib.sha256(bytes.fromhex(SHARED)).digest()
    nonce = bytes(range(12))
    sealed = AESGCM(key).encrypt(nonce, b"(:type :login)", None)
    opened = decrypt_auth_payload(ALICE_PUBLIC + (nonce + sealed).hex(), keys)
    assert opened.plaintext == b"(:type :login)"


@pytest.mark.parametrize(
    ("key", "nonce", "plaintext", "sealed"),
    [  # McGrew and Viega, "The Galois/Counter Mode of Operation", gcm-revised-spec.pdf, test cases 13 to 15
        ("00" * 32, "00" * 12, "", "530f8afbc74536b9a963b4f1c4cb738b"),
        ("00" * 32, "00" * 12, "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
        (
            "feffe9928665731c6d6a8f9467308308" * 2,
            "cafebabefacedbaddecaf888",
            (
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
            ),
            (
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
                "b094dac5d93471bdec1a502270e3cc6c"
            ),
        ),
    ],
)
def test_aes_256_gcm_gives_the_answers_of_its_authors(key: str, nonce: str, plaintext: str, sealed: str) -> None:
    raw = AESGCM(bytes.fromhex(key)).encrypt(bytes.fromhex(nonce), bytes.fromhex(plaintext), None)
    assert raw.hex() == sealed


@given(st.binary(min_size=1, max_size=2000))
def test_what_is_sealed_opens_to_the_same_bytes(keys: ServerKeys, message: bytes) -> None:
    request = encrypt_auth_payload(message, keys.public_key)
    opened = decrypt_auth_payload(request.payload, keys)
    assert opened.plaintext == message
    assert request.open_ticket(opened.seal_ticket("ada.beef")) == "ada.beef"
    assert decrypt_auth_payload(request.payload.upper(), keys).digest == opened.digest


def test_a_mapping_is_sealed_as_json_with_the_time_unless_it_says_when(keys: ServerKeys) -> None:
    clock = FakeClock()

    def sealed(message: dict[str, object]) -> object:
        payload = encrypt_auth_payload(message, keys.public_key, clock=clock).payload
        return msgspec.json.decode(decrypt_auth_payload(payload, keys).plaintext)

    assert sealed({"ticket": "t"}) == {"ticket": "t", "timestamp": clock.wall_us() // 1_000_000}
    assert sealed({"ticket": "t", "timestamp": 5}) == {"ticket": "t", "timestamp": 5}
    assert sealed({"ticket": "t", "challenge": "c"}) == {"ticket": "t", "challenge": "c"}


def test_every_changed_bit_of_a_payload_is_refused_in_the_same_words(keys: ServerKeys) -> None:
    payload = bytes.fromhex(encrypt_auth_payload(b'{"username": "ada"}', keys.public_key).payload)
    refusals: set[str] = set()
    for bit in range(len(payload) * 8):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken) as caught:
            decrypt_auth_payload(changed.hex(), keys)
        refusals.add(str(caught.value))
        assert caught.value.__cause__ is None
    assert refusals == {str(SealBroken())}


def test_every_shortened_or_lengthened_payload_is_refused(keys: ServerKeys) -> None:
    payload = encrypt_auth_payload(b"{}", keys.public_key).payload
    for cut in [*(payload[:end] for end in range(len(payload))), payload + "00", "00" + payload]:
        with pytest.raises(SealBroken):
            decrypt_auth_payload(cut, keys)


@pytest.mark.parametrize("text", ["", "zz" * 80, "é" * 160, " " + "00" * 80, "00 " * 80, "\ud800" * 160])
def test_what_is_not_hexadecimal_is_refused(keys: ServerKeys, text: str) -> None:
    with pytest.raises(SealBroken):
        decrypt_auth_payload(text, keys)


def test_blanks_do_not_make_another_spelling_of_a_payload(keys: ServerKeys) -> None:
    payload = encrypt_auth_payload(b"{}", keys.public_key).payload
    with pytest.raises(SealBroken):
        decrypt_auth_payload(payload[:2] + " " + payload[2:], keys)


def test_a_payload_beyond_the_longest_message_is_refused_unread(keys: ServerKeys) -> None:
    fits = encrypt_auth_payload(b"x" * (PAYLOAD_BYTES_MAX - 60), keys.public_key).payload
    assert len(decrypt_auth_payload(fits, keys).plaintext) == PAYLOAD_BYTES_MAX - 60
    with pytest.raises(SealBroken):
        decrypt_auth_payload(encrypt_auth_payload(b"x" * (PAYLOAD_BYTES_MAX - 59), keys.public_key).payload, keys)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_public_key_of_small_order_is_refused_on_both_sides(keys: ServerKeys, point: int) -> None:
    encoded = point.to_bytes(32, "little")
    key = hashlib.sha256(bytes(32)).digest()  # what everybody knows if the shared secret is zero
    forged = encoded + bytes(12) + AESGCM(key).encrypt(bytes(12), b'{"username": "ada"}', None)
    with pytest.raises(SealBroken):
        decrypt_auth_payload(forged.hex(), keys)
    with pytest.raises(BadSealingKey):
        encrypt_auth_payload(b"{}", encoded.hex())


def test_another_spelling_of_the_public_key_is_refused(keys: ServerKeys) -> None:
    """X25519 ignores the top bit: unless it is refused here, the replay guard sees a new payload."""
    payload = bytearray(bytes.fromhex(encrypt_auth_payload(b"{}", keys.public_key).payload))
    payload[31] |= 0x80
    with pytest.raises(SealBroken):
        decrypt_auth_payload(payload.hex(), keys)


def test_a_payload_is_recognised_although_a_point_of_small_order_was_added_to_its_public_key(keys: ServerKeys) -> None:
    payload = bytes.fromhex(encrypt_auth_payload(b"{}", keys.public_key).payload)
    twin = _plus_order_two(payload[:32]) + payload[32:]
    assert twin != payload
    assert decrypt_auth_payload(twin.hex(), keys).digest == decrypt_auth_payload(payload.hex(), keys).digest


def _plus_order_two(encoded: bytes) -> bytes:
    """The point plus (0, 0), the point of order two: its x is 1/x. A clamped scalar is a multiple of 8, so it vanishes."""
    return pow(int.from_bytes(encoded, "little"), -1, P).to_bytes(32, "little")


def test_a_payload_for_another_server_is_refused(keys: ServerKeys, tmp_path: Path) -> None:
    other = init_server_encryption(tmp_path / "other")
    with pytest.raises(SealBroken):
        decrypt_auth_payload(encrypt_auth_payload(b"{}", other.public_key).payload, keys)


def test_a_sealed_ticket_opens_only_for_the_request_it_answers(keys: ServerKeys) -> None:
    first, second = (encrypt_auth_payload(b"{}", keys.public_key) for _ in range(2))
    answer = decrypt_auth_payload(first.payload, keys).seal_ticket("ada.beef")
    assert first.open_ticket(answer) == "ada.beef"
    for bad in (answer[:-2], answer[:10], "", answer[:-1] + ("0" if answer[-1] != "0" else "1")):
        with pytest.raises(SealBroken):
            first.open_ticket(bad)
    with pytest.raises(SealBroken):
        second.open_ticket(answer)


@pytest.mark.parametrize("public_key", ["", "00", "xyz", "00" * 31, "00" * 33, "ff" * 32])
def test_a_bad_public_key_is_refused_before_anything_is_sealed(public_key: str) -> None:
    with pytest.raises(BadSealingKey):
        encrypt_auth_payload(b"{}", public_key)


def test_nothing_that_is_printed_has_a_secret_in_it(keys: ServerKeys) -> None:
    request = encrypt_auth_payload(b'{"password": "hunter2 hunter2"}', keys.public_key)
    opened = decrypt_auth_payload(request.payload, keys)
    printed = repr((request, opened, keys)) + str(vars(keys).keys())
    secrets = ["hunter2", keys.usable()[0].private_bytes_raw().hex()]
    assert not [secret for secret in secrets if secret in printed]
    assert "hunter2" in str(vars(opened))  # the scan can find it


def test_each_payload_has_a_key_of_its_own(keys: ServerKeys) -> None:
    payloads = [encrypt_auth_payload(b"{}", keys.public_key).payload for _ in range(50)]
    assert len({payload[:64] for payload in payloads}) == 50
    assert len({payload[64:88] for payload in payloads}) == 50
    assert X25519PrivateKey.generate().private_bytes_raw().hex() not in payloads
