"""Packs mini-transactions into one script call, and turns its reply into outcomes. The script is `lua/write.lua`."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, cast

from realmkeep.errors import WrongType
from realmkeep.storage.limits import expire_ms
from realmkeep.storage.protocol import (
    COMMITTED,
    STEP_OPERATIONS,
    Advance,
    AnyTransaction,
    Append,
    DropFirst,
    Effect,
    Extend,
    Failed,
    Need,
    OwnedKeys,
    Present,
    Put,
    Refused,
    Step,
    Transaction,
    WriteOutcome,
)

# Lua's stack holds 8,000 values, and one MSET takes two for each put. The limits also bound how long the store is busy
# with one chunk, and how long packing holds the event loop.
CHUNK_TRANSACTIONS_MAX: Final = 128  # with `always` they share one fsync; 256 took 1 ms to send
PACK_SLICE: Final = 64  # transactions; packing them takes about 0.3 ms
CHUNK_OPERATIONS_MAX: Final = 2048  # twice the maximum of one transaction
CHUNK_BYTES_MAX: Final = 256 * 1024  # only a single transaction may exceed it
REVISION_MIN: Final = 10**15  # of 16 digits: microseconds since the epoch, from 2001
REVISION_MAX: Final = 10**16 - 1  # to 2286
OPS: Final = 3  # the place of the key of the operations in what is prepared
SHORT_BYTES_MAX: Final = 64  # the old value is probably as short, so reading it is cheaper than asking for its type


@cache
def write_script() -> str:
    """Return the script that `ChunkPacker.pack` calls. The first call blocks, because it reads a file of this package."""
    return files("realmkeep.storage").joinpath("lua/write.lua").read_text(encoding="utf-8")


class ChunkPacker:
    """Collects transactions until a chunk is full, then packs them as one command.

    Keys and values are kept as they are sent, each with its length before it. Those of an owned record are prepared once.

    Args:
        prefix: The store's prefix of every key.
    """

    def __init__(self, prefix: bytes = b"") -> None:
        self._prefix = prefix
        self._program: list[str] = []
        self._swapped: list[bytes] = []  # keys, by kind of operation; the kinds are those of the script
        self._guarded: list[bytes] = []
        self._short: list[bytes] = []
        self._extended: list[bytes] = []
        self._appended: list[bytes] = []
        self._other: list[bytes] = []
        self._swap_expected: list[bytes] = []
        self._swap_new: list[bytes] = []
        self._expected: list[bytes] = []
        self._short_values: list[bytes] = []
        self._additions: list[bytes] = []
        self._entries: list[bytes] = []
        self._arguments: list[bytes] = []
        self._touched: set[str] = set()  # keys that a transaction puts or extends
        self._lists: set[str] = set()  # keys that a transaction appends to
        self._guarded_keys: set[str] = set()
        self._steps: list[Step] = []  # of the advances since the last other transaction
        self._advanced: list[OwnedKeys] = []
        self._is_independent = True
        self._size = 0
        self._operations = 0

    def take(self, transactions: Sequence[AnyTransaction], start: int) -> int:
        """Add transactions from the position `start` on, at most `PACK_SLICE`; return the position after the last one.

        A full chunk takes none. An empty chunk takes at least one, of any size.
        """
        program = self._program
        stop = min(len(transactions), start + PACK_SLICE)
        for position in range(start, stop):
            transaction = transactions[position]
            if isinstance(transaction, Advance):
                count = STEP_OPERATIONS * len(transaction.steps) + 1
            else:
                count = len(transaction.guards) + len(transaction.effects) + len(transaction.needs)
            if program and (
                len(program) >= CHUNK_TRANSACTIONS_MAX
                or self._size >= CHUNK_BYTES_MAX
                or self._operations + count > CHUNK_OPERATIONS_MAX
            ):
                return position
            self._operations += count
            program.append(
                self._add_advance(transaction) if isinstance(transaction, Advance) else self._add(transaction)
            )
        return stop

    def _add_advance(self, advance: Advance) -> str:
        steps = advance.steps
        self._steps += steps
        letters = "GC" * len(steps) + "P" * len(steps)
        for step in steps:
            self._size += len(step.stored)
            if step.line:
                letters += "T"
        return letters if advance.entry is None else letters + self._add_entry(advance.entry)

    def _put_steps(self) -> None:
        """Prepare the steps of the advances since the last other transaction, column by column."""
        steps = self._steps
        if not steps:
            return
        updated, owners, records, _, claims = zip(
            *[step.of.prepared or _prepared(step.of, self._prefix) for step in steps], strict=True
        )
        self._swapped += updated
        self._swap_expected += _numbers([step.follows for step in steps])
        self._swap_new += _numbers([step.leaves for step in steps])
        self._guarded += owners
        self._expected += claims
        self._other += records
        self._arguments += [b"$%d\r\n%b\r\n" % (len(stored := step.stored), stored) for step in steps]
        extending = [step for step in steps if step.line]
        self._extended += [step.of.prepared[OPS] for step in extending if step.of.prepared]
        self._additions += [b"$%d\r\n%b\r\n" % (len(line := step.line), line) for step in extending]
        self._advanced += [step.of for step in steps]
        self._steps = []

    def _add_entry(self, effect: Append) -> str:
        self._lists.add(effect.key)
        self._appended.append(_bulk(self._prefix + effect.key.encode()))
        self._entries.append(_bulk(effect.value))
        self._size += len(effect.value)
        return "A"

    def _add(self, transaction: Transaction) -> str:
        self._put_steps()
        effects, touched = transaction.effects, self._touched
        first_on = {effect.key: effect for effect in reversed(effects)}
        swaps: set[str] = set()
        letters = ""
        for guard in transaction.guards:
            key, expected = guard.key, guard.expected
            if key in touched:
                self._is_independent = False
            self._guarded_keys.add(key)
            if expected is None:
                letters += "N"
                self._guarded.append(_bulk(self._prefix + key.encode()))
                self._expected.append(_bulk(b""))
                self._is_independent = False  # for MGET a list looks absent, so the script must check the type
                continue
            effect = first_on.pop(key, None)
            if isinstance(effect, Put) and effect.expire_s is None:
                letters += "C"
                swaps.add(key)
                self._swapped.append(_bulk(self._prefix + key.encode()))
                self._swap_expected.append(_bulk(expected))
                self._swap_new.append(_bulk(effect.value))
                self._size += len(effect.value)
            else:
                letters += "G"
                self._guarded.append(_bulk(self._prefix + key.encode()))
                self._expected.append(_bulk(expected))
        letters += self._add_needs(transaction.needs) if transaction.needs else ""
        for effect in effects:
            if (isinstance(effect, Put) and effect.expire_s is None) or isinstance(effect, Extend):
                if effect.key in touched:
                    self._is_independent = False
                touched.add(effect.key)
                if effect.key in swaps:  # the first effect on its key
                    swaps.remove(effect.key)
                else:
                    letters += self._add_value(effect)
            elif isinstance(effect, Append):
                letters += self._add_entry(effect)
            else:
                letters += self._add_other_effect(effect)
        return letters

    def _add_value(self, effect: Put | Extend) -> str:
        key, value = _bulk(self._prefix + effect.key.encode()), _bulk(effect.value)
        self._size += len(effect.value)
        if isinstance(effect, Extend):
            self._extended.append(key)
            self._additions.append(value)
            return "T"
        if len(effect.value) <= SHORT_BYTES_MAX:
            self._short.append(key)
            self._short_values.append(value)
            return "S"
        self._other.append(key)
        self._arguments.append(value)
        return "P"

    def _add_needs(self, needs: Sequence[Need]) -> str:
        self._is_independent = False
        letters = ""
        for need in needs:
            letter, argument = ("E", b"") if isinstance(need, Present) else ("L", b"%d" % need.than)
            self._other.append(_bulk(self._prefix + need.key.encode()))
            self._arguments.append(_bulk(argument))
            letters += letter
        return letters

    def _add_other_effect(self, effect: Effect) -> str:
        self._is_independent = False
        if isinstance(effect, Put):
            letter, argument = "X", b"%d %b" % (expire_ms(cast("float", effect.expire_s)), effect.value)
        elif isinstance(effect, DropFirst):
            letter, argument = "F", b"%d" % effect.count
        else:
            letter, argument = "D", b""
        self._other.append(_bulk(self._prefix + effect.key.encode()))
        self._arguments.append(_bulk(argument))
        self._size += len(argument)
        return letter

    def _is_simple(self) -> bool:
        """Whether no transaction has a key that another one changes, so that the script may look once and write once."""
        advanced, values = self._advanced, self._touched | self._guarded_keys
        if not self._is_independent or len({of.updated for of in advanced}) < len(advanced):
            return False
        if not self._lists.isdisjoint(values):  # one takes for a value what another one takes for a list
            return False
        others = values | self._lists
        return not others or not any(
            key in others for of in advanced for key in (of.updated, of.owner, of.record, of.ops)
        )

    def pack(self, script_sha: bytes) -> bytes:
        """Return the chunk in the protocol of Redis, ready to be sent."""
        self._put_steps()
        counts = [len(each) for each in (self._swapped, self._guarded, self._short, self._extended, self._appended)]
        keys = sum(counts) + len(self._other)
        program = ("+" if self._is_simple() else "") + ".".join(self._program) + "."
        arguments = [program.encode(), *[b"%d" % count for count in counts]]
        return b"".join(
            (
                b"*%d\r\n$7\r\nEVALSHA\r\n" % (3 + len(arguments) + 2 * keys + counts[0]),
                _bulk(script_sha),
                _bulk(b"%d" % keys),
                *self._swapped,
                *self._guarded,
                *self._short,
                *self._extended,
                *self._appended,
                *self._other,
                *map(_bulk, arguments),
                *self._swap_expected,
                *self._expected,
                *self._short_values,
                *self._additions,
                *self._entries,
                *self._arguments,
                *self._swap_new,
            )
        )


def _bulk(argument: bytes) -> bytes:
    """One argument of a command, as it is sent."""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def _numbers(numbers: Sequence[int]) -> list[bytes]:
    if min(numbers) >= REVISION_MIN and max(numbers) <= REVISION_MAX:
        return [b"$16\r\n%d\r\n" % number for number in numbers]
    return [_bulk(b"%d" % number) for number in numbers]


def _prepared(of: OwnedKeys, prefix: bytes) -> tuple[bytes, ...]:
    keys = (of.updated, of.owner, of.record, of.ops)
    of.prepared = prepared = (*[_bulk(prefix + key.encode()) for key in keys], _bulk(of.claim))
    return prepared


def outcomes(
    transactions: Sequence[AnyTransaction], exceptions: Iterable[bytes | int | None], prefix: bytes = b""
) -> list[WriteOutcome]:
    """Turn the script's reply into one outcome for each transaction of a chunk, whose keys were sent with a prefix."""
    results: list[WriteOutcome] = [COMMITTED] * len(transactions)
    entries = iter(exceptions)
    for number, position, found in zip(entries, entries, entries, strict=True):
        index = cast("int", number)
        results[index] = _exception_outcome(transactions[index], cast("int", position), found, prefix)
    return results


def _exception_outcome(
    transaction: AnyTransaction, position: int, found: bytes | int | None, prefix: bytes
) -> WriteOutcome:
    if position >= 0:
        guards = transaction.guards
        guard = guards[position] if position < len(guards) else transaction.needs[position - len(guards)]
        if not isinstance(found, int):
            return Refused(guard, found)
        key = guard.key
    else:
        key = cast("bytes", found).removeprefix(prefix).decode()
    return Failed(
        WrongType(
            f"{key!r} holds another type than the transaction needs; it was not touched",
            hint="delete it or use another key",
        )
    )
