"""Mini-transactions as one script call, and its reply as outcomes. `lua/write.lua` is the other half."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, cast

import hiredis

from realmkeep.errors import WrongType
from realmkeep.storage.limits import expire_ms
from realmkeep.storage.protocol import (
    COMMITTED,
    Append,
    Delete,
    Effect,
    Failed,
    Guard,
    Put,
    Refused,
    Transaction,
    WriteOutcome,
)


# The driver's stub takes tuples of exactly one argument.
_pack_command = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType] - see above

# Lua's stack holds 8,000 values, and one MSET takes two for each put. A chunk also bounds how long the store serves
# nobody else and how long packing holds the event loop.
CHUNK_TRANSACTIONS_MAX: Final = 96
CHUNK_OPERATIONS_MAX: Final = 1024  # the most that one transaction may have
CHUNK_BYTES_MAX: Final = 256 * 1024  # exceeded only by a single transaction


@cache
def write_script() -> str:
    """The script that `ChunkPacker.pack` calls. Blocks the first time: it is a file of this package."""
    return files("realmkeep.storage").joinpath("lua/write.lua").read_text(encoding="utf-8")


class ChunkPacker:
    """Collects transactions until a chunk is full, then packs them as one command."""

    def __init__(self) -> None:
        self._program: list[str] = []
        self._guard_keys: list[str] = []
        self._expected: list[bytes] = []
        self._effect_keys: list[str] = []
        self._arguments: list[bytes] = []
        self._put: set[str] = set()
        self._is_independent = True
        self._size = 0

    def take(self, transactions: Sequence[Transaction], start: int) -> int:
        """Add transactions from the position `start` on, until the chunk is full; returns where it stopped.

        An empty chunk takes at least one, whatever its size.
        """
        program, room = self._program, CHUNK_OPERATIONS_MAX - len(self._guard_keys) - len(self._effect_keys)
        for position in range(start, len(transactions)):
            transaction = transactions[position]
            room -= len(transaction.guards) + len(transaction.effects)
            if program and (room < 0 or len(program) >= CHUNK_TRANSACTIONS_MAX or self._size >= CHUNK_BYTES_MAX):
                return position
            program.append(self._add(transaction))
        return len(transactions)

    def _add(self, transaction: Transaction) -> str:
        letters = ""
        put, guard_keys, expected = self._put, self._guard_keys, self._expected
        for guard in transaction.guards:
            key, value = guard.key, guard.expected
            if key in put:
                self._is_independent = False
            guard_keys.append(key)
            if value is None:
                letters += "N"
                expected.append(b"")
                self._is_independent = False  # what is absent looks like a list to MGET: the script has to look closer
            else:
                letters += "G"
                expected.append(value)
        effect_keys, arguments = self._effect_keys, self._arguments
        for effect in transaction.effects:
            key = effect.key
            effect_keys.append(key)
            if isinstance(effect, Put) and effect.expire_s is None:
                if key in put:
                    self._is_independent = False
                put.add(key)
                letters += "P"
                value = effect.value
                arguments.append(value)
                self._size += len(value)
            else:
                letters += self._add_rare(effect)
        return letters

    def _add_rare(self, effect: Effect) -> str:
        self._is_independent = False
        if isinstance(effect, Put):
            letter, argument = "X", b"%d %b" % (expire_ms(cast("float", effect.expire_s)), effect.value)
        elif isinstance(effect, Append):
            letter, argument = "A", effect.value
        elif isinstance(effect, Delete):
            letter, argument = "D", b""
        else:
            letter, argument = "F", b"%d" % effect.count
        self._arguments.append(argument)
        self._size += len(argument)
        return letter

    def pack(self, script_sha: bytes) -> bytes:
        """The chunk in the protocol of Redis, ready to be sent."""
        guards = len(self._guard_keys)
        program = ".".join(self._program) + "."
        return _pack_command(
            (
                b"EVALSHA",
                script_sha,
                guards + len(self._effect_keys),
                *self._guard_keys,
                *self._effect_keys,
                "+" + program if self._is_independent else program,
                guards,
                *self._expected,
                *self._arguments,
            )
        )


def outcomes(transactions: Sequence[Transaction], reply: Iterable[bytes | int | None] | None) -> list[WriteOutcome]:
    """One outcome for each of the transactions of a chunk, from the reply of the script."""
    results: list[WriteOutcome] = [COMMITTED] * len(transactions)
    exceptions = iter(reply or ())
    for number, operation, found in zip(exceptions, exceptions, exceptions, strict=True):
        index = cast("int", number)
        results[index] = _exception(transactions[index], cast("int", operation), found)
    return results


def _exception(transaction: Transaction, operation: int, found: bytes | int | None) -> WriteOutcome:
    guards = transaction.guards
    part: Guard | Effect
    if operation < len(guards):
        part = guard = guards[operation]
        if not isinstance(found, int):
            return Refused(guard, found)
    else:
        part = transaction.effects[operation - len(guards)]
    wanted = "a value" if isinstance(part, (Guard, Put)) else "a list"
    return Failed(
        WrongType(
            f"{part.key!r} does not hold {wanted} but another type; it was not touched",
            hint="delete it or use another key",
        )
    )
