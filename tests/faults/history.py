"""The store's own append-only file, replayed: every state that the store was ever in, in order, and who wrote it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import hiredis

from realmkeep.records import load
from simulation.game import Hero
from simulation.model import Model

Command = list[bytes]


class Contents:
    """A store in a dictionary, as far as the append-only file of Realmkeep's writes needs one."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._lists: dict[bytes, list[bytes]] = {}

    def value(self, key: str) -> bytes | None:
        return self._values.get(key.encode())

    def entries(self, key: str) -> Sequence[bytes]:
        return self._lists.get(key.encode(), [])

    def apply(self, command: Command) -> set[bytes]:
        """Do it; returns the keys that it named."""
        name, arguments = command[0].upper(), command[1:]
        if name == b"MSET":
            self._values.update(zip(arguments[::2], arguments[1::2], strict=True))
            return set(arguments[::2])
        key = arguments[0]
        if name in {b"SET", b"INCRBY"}:  # nobody here reads the counters
            self._values[key] = arguments[1]
        elif name == b"PEXPIREAT":
            return set()  # of `server:synced`
        elif name in {b"DEL", b"UNLINK"}:
            for gone in arguments:
                self._values.pop(gone, None)
                self._lists.pop(gone, None)
            return set(arguments)
        elif name == b"APPEND":
            self._values[key] = self._values.get(key, b"") + arguments[1]
        elif name == b"RPUSH":
            self._lists.setdefault(key, []).extend(arguments[1:])
        elif name == b"LTRIM":
            assert arguments[2] == b"-1", command
            self._lists[key] = self._lists.get(key, [])[int(arguments[1]) :]
        else:
            raise AssertionError(command)
        return {key}


def incremental_file(directory: Path) -> Path:
    """Everything that was ever written to a store that never rewrote its file."""
    (path,) = (directory / "appendonlydir").glob("*.incr.aof")
    return path


SECONDS = re.compile(rb"^#TS:\d+\r\n", re.MULTILINE)  # a store notes the seconds between its commands


def _groups(path: Path) -> Iterator[list[Command]]:
    """What was written at once: one command, or those between MULTI and EXEC."""
    reader = hiredis.Reader()
    reader.feed(SECONDS.sub(b"", path.read_bytes()))
    group: list[Command] = []
    open_group = False
    while (command := reader.gets()) is not False:
        name = command[0].upper()
        if name == b"SELECT":
            continue
        if name == b"MULTI":
            open_group = True
        elif name == b"EXEC":
            open_group = False
        else:
            group.append(command)
        if not open_group:
            yield group
            group = []


def _token(owner: bytes | None) -> float:
    return float((owner or b"//0").rpartition(b"/")[2])


def check_history(directory: Path, heroes: int) -> list[str]:
    """What was wrong in any state that the store was ever in.

    In each of them everything that `Model` asks for must hold; and whoever wrote a hero must have owned it: the hero shows
    the token of its writer's claim (`realm_server.stamp`).
    """
    model, contents, wrong = Model(heroes), Contents(), list[str]()
    for group in _groups(incremental_file(directory)):
        before = {number: contents.value(f"sim-hero:{number}:owner") for number in range(heroes)}
        blobs = {number: contents.value(f"sim-hero:{number}") for number in range(heroes)}
        touched = {key.decode() for command in group for key in contents.apply(command)}
        for number in range(heroes):
            key = f"sim-hero:{number}"
            if key not in touched or contents.value(key) == blobs[number]:  # a letter that goes back changes nothing
                continue
            written_by = load(contents.value(key) or b"", Hero).require().x
            if written_by != (_token(before[number]) if blobs[number] is not None else 0.0):
                wrong.append(f"{key} was written under the claim {written_by:.0f} while {before[number]} owned it")
        if any(key.startswith("sim-") for key in touched):
            model.check(contents)
            if model.violations:
                break
    return wrong + model.violations
