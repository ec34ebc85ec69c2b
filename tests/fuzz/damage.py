"""Damaged forms of stored bytes, from a seed: shared by the fuzz target and the tests of malformed input."""

from collections.abc import Sequence
from random import Random
from typing import Final

TOKENS: Final = (
    *("(", ")", "()", "#(", "'", "`", ",", ".", ";", "#|", "|#", "|", '"', "\\", "#", ":", "::", "nil", "t", "cl:nil", "#.", "#S("),
    *("#\\", "#\\a", "#\\Newline", "#\\U+D800", "#x", "#b1", "1/2", "1/0", "-", "+5", "1.", ".5", "1d999", "1d-999", "-0.0d0"),
    *("9223372036854775807", "-9223372036854775809", "1" * 450, "é", "\u2028", "\U0001f600", "\0", "\n", ":crc", ':crc "00000000"'),
    *(":version", ":version 0", ":version -1", ":version 99", "{", "}", "[", "]", "{}", "null", "true", "NaN", "1e400", "\\ud800"),
    *('"version":', '"crc":"00000000"', ","),
)  # fmt: skip


def mutated(stored: bytes, others: Sequence[bytes], random: Random, *, bytes_max: int = 512) -> bytes:
    """One to four changes of `stored`, cut to `bytes_max`; `others` lend their parts."""
    changed = bytearray(stored)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        until = min(len(changed), at + random.choice((1, 1, 2, 8, 64)))
        match random.randrange(10):
            case 0:
                del changed[at:until]
            case 1:
                del changed[at:]
            case 2:
                changed[at:until] = random.randbytes(until - at)
            case 3 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 4:
                changed[at:at] = changed[at:until] * random.choice((1, 2, 100))
            case 5:
                other = random.choice(others)
                cut = random.randrange(len(other) + 1)
                changed[at:until] = other[cut : cut + random.choice((4, 16, 128))]
            case 6:
                depth = random.choice((1, 5, 70, 200))
                changed[at:at] = random.choice((b"(", b"#(", b"'", b"[", b"#|", b'{"a":')) * depth
            case _:
                changed[at : random.choice((at, until))] = random.choice(TOKENS).encode()
        del changed[bytes_max:]
    return bytes(changed)


def malformed(seeds: Sequence[bytes], random: Random) -> bytes:
    """One input that is probably no stored record: mostly mutated, else truncated or random bytes, tokens and nesting."""
    match random.randrange(8):
        case 0:
            seed = random.choice(seeds)
            return seed[: random.randrange(len(seed))]
        case 1:
            return random.randbytes(random.randrange(40))
        case 2:
            return " ".join(random.choices(TOKENS, k=random.randrange(1, 20))).encode()
        case 3:
            opening = random.choice((b"(", b"#(", b"'", b"((:a ", b"[", b'{"a":'))
            return opening * random.randrange(1, 100) + random.choice((b"", b"1", b")" * random.randrange(100)))
        case _:
            return mutated(random.choice(seeds), seeds, random)
