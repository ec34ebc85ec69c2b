"""Packs mini-transactions into one script call, and turns its reply into outcomes. The script is `lua/write.lua`."""

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
    Need,
    Present,
    Put,
    Refused,
    Transaction,
    WriteOutcome,
)

# The driver's stub takes tuples of exactly one argument.
_pack_command = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType] - see above

# Lua's stack holds 8,000 values, and one MSET takes two for each put. The limits also bound how long the store is busy
# with one chunk, and how long packing holds the event loop.
CHUNK_TRANSACTIONS_MAX: Final = 128  # with `always` they share one fsync; 256 took 1 ms to send
PACK_SLICE: Final = 64  # transactions; packing them takes about 0.3 ms
CHUNK_OPERATIONS_MAX: Final = 2048  # twice the maximum of one transaction
CHUNK_BYTES_MAX: Final = 256 * 1024  # only a single transaction may exceed it
SHORT_BYTES_MAX: Final = 64  # the old value is probably as short, so reading it is cheaper than asking for its type


@cache
def write_script() -> str:
    """Return the script that `ChunkPacker.pack` calls. The first call blocks, because it reads a file of this package."""
    return files("realmkeep.storage").joinpath("lua/write.lua").read_text(encoding="utf-8")


class ChunkPacker:
    """Collects transactions until a chunk is full, then packs them as one command."""

    def __init__(self) -> None:
        self._program: list[str] = []
        self._swapped: list[str] = []  # keys, by kind of operation; the kinds are those of the script
        self._guarded: list[str] = []
        self._short: list[str] = []
        self._other: list[str] = []
        self._swap_expected: list[bytes] = []
        self._swap_new: list[bytes] = []
        self._expected: list[bytes] = []
        self._short_values: list[bytes] = []
        self._arguments: list[bytes] = []
        self._put: set[str] = set()
        self._is_independent = True
        self._size = 0
        self._operations = 0

    def take(self, transactions: Sequence[Transaction], start: int) -> int:
        """Add transactions from the position `start` on, at most `PACK_SLICE`; return the position after the last one.

        A full chunk takes none. An empty chunk takes at least one, of any size.
        """
        program = self._program
        stop = min(len(transactions), start + PACK_SLICE)
        for position in range(start, stop):
            transaction = transactions[position]
            operations = self._operations + len(transaction.guards) + len(transaction.effects) + len(transaction.needs)
            if program and (
                len(program) >= CHUNK_TRANSACTIONS_MAX
                or self._size >= CHUNK_BYTES_MAX
                or operations > CHUNK_OPERATIONS_MAX
            ):
                return position
            self._operations = operations
            program.append(self._add(transaction))
        return stop

    def _add(self, transaction: Transaction) -> str:
        effects, put = transaction.effects, self._put
        first_on = {effect.key: effect for effect in reversed(effects)}
        swaps: set[str] = set()
        letters = ""
        for guard in transaction.guards:
            key, expected = guard.key, guard.expected
            if key in put:
                self._is_independent = False
            if expected is None:
                letters += "N"
                self._guarded.append(key)
                self._expected.append(b"")
                self._is_independent = False  # for MGET a list looks absent, so the script must check the type
                continue
            effect = first_on.pop(key, None)
            if isinstance(effect, Put) and effect.expire_s is None:
                letters += "C"
                swaps.add(key)
                self._swapped.append(key)
                self._swap_expected.append(expected)
                self._swap_new.append(effect.value)
                self._size += len(effect.value)
            else:
                letters += "G"
                self._guarded.append(key)
                self._expected.append(expected)
        letters += self._add_needs(transaction.needs) if transaction.needs else ""
        for effect in effects:
            key = effect.key
            if isinstance(effect, Put) and effect.expire_s is None:
                if key in put:
                    self._is_independent = False
                put.add(key)
                value = effect.value
                if key in swaps:  # the first effect on its key
                    swaps.remove(key)
                    continue
                if len(value) <= SHORT_BYTES_MAX:
                    letters += "S"
                    self._short.append(key)
                    self._short_values.append(value)
                else:
                    letters += "P"
                    self._other.append(key)
                    self._arguments.append(value)
                self._size += len(value)
            else:
                letters += self._add_other_effect(effect)
        return letters

    def _add_needs(self, needs: Sequence[Need]) -> str:
        self._is_independent = False
        letters = ""
        for need in needs:
            letter, argument = ("E", b"") if isinstance(need, Present) else ("L", b"%d" % need.than)
            self._other.append(need.key)
            self._arguments.append(argument)
            letters += letter
        return letters

    def _add_other_effect(self, effect: Effect) -> str:
        self._is_independent = False
        if isinstance(effect, Put):
            letter, argument = "X", b"%d %b" % (expire_ms(cast("float", effect.expire_s)), effect.value)
        elif isinstance(effect, Append):
            letter, argument = "A", effect.value
        elif isinstance(effect, Delete):
            letter, argument = "D", b""
        else:
            letter, argument = "F", b"%d" % effect.count
        self._other.append(effect.key)
        self._arguments.append(argument)
        self._size += len(argument)
        return letter

    def pack(self, script_sha: bytes) -> bytes:
        """Return the chunk in the protocol of Redis, ready to be sent."""
        swaps, guards, shorts = len(self._swapped), len(self._guarded), len(self._short)
        program = ".".join(self._program) + "."
        return _pack_command(
            (
                b"EVALSHA",
                script_sha,
                swaps + guards + shorts + len(self._other),
                *self._swapped,
                *self._guarded,
                *self._short,
                *self._other,
                "+" + program if self._is_independent else program,
                swaps,
                guards,
                shorts,
                *self._swap_expected,
                *self._expected,
                *self._short_values,
                *self._arguments,
                *self._swap_new,
            )
        )


def outcomes(transactions: Sequence[Transaction], exceptions: Iterable[bytes | int | None]) -> list[WriteOutcome]:
    """Turn the script's reply into one outcome for each transaction of a chunk."""
    results: list[WriteOutcome] = [COMMITTED] * len(transactions)
    entries = iter(exceptions)
    for number, position, found in zip(entries, entries, entries, strict=True):
        index = cast("int", number)
        results[index] = _exception_outcome(transactions[index], cast("int", position), found)
    return results


def _exception_outcome(transaction: Transaction, position: int, found: bytes | int | None) -> WriteOutcome:
    if position >= 0:
        guards = transaction.guards
        guard = guards[position] if position < len(guards) else transaction.needs[position - len(guards)]
        if not isinstance(found, int):
            return Refused(guard, found)
        key = guard.key
    else:
        key = cast("bytes", found).decode()
    return Failed(
        WrongType(
            f"{key!r} holds another type than the transaction needs; it was not touched",
            hint="delete it or use another key",
        )
    )
