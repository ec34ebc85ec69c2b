"""A store's own append-only file, replayed: every state that the store was ever in, in order, and the claim of each write."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import hiredis

from realmkeep.drill.checks.kept import token_of
from realmkeep.drill.checks.model import Model
from realmkeep.drill.game import Hero
from realmkeep.records import load

Command = list[bytes]
BASE_BYTES_MAX: Final = 200  # of the file with the contents at the last rewrite, while there were none
SECONDS: Final = re.compile(rb"^#TS:\d+\r\n", re.MULTILINE)  # a store notes the seconds between its commands


class LogContents:
    """A store in a dictionary, as far as Realmkeep's writes need one."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._lists: dict[bytes, list[bytes]] = {}

    def value(self, key: str) -> bytes | None:
        """Return the value of a key."""
        return self._values.get(key.encode())

    def entries(self, key: str) -> Sequence[bytes]:
        """Return the entries of a list."""
        return self._lists.get(key.encode(), [])

    def apply(self, command: Command) -> set[bytes]:
        """Apply a command; return the keys that it named.

        Raises:
            ValueError: The log has a command that Realmkeep does not send.
        """
        name, arguments = command[0].upper(), command[1:]
        if name == b"MSET":
            self._values.update(zip(arguments[::2], arguments[1::2], strict=True))
            return set(arguments[::2])
        key = arguments[0]
        if name in {b"SET", b"INCRBY"}:  # the counters are not looked at
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
        elif name == b"LTRIM" and arguments[2] == b"-1":
            self._lists[key] = self._lists.get(key, [])[int(arguments[1]) :]
        else:
            raise ValueError(f"the log has the command {command!r}")
        return {key}


def incremental_file(directory: Path) -> Path:
    """Return the log of a store that never rewrote its file.

    Raises:
        FileNotFoundError: There is none, or more than one.
    """
    found = [*(directory / "appendonlydir").glob("*.incr.aof")]
    if len(found) != 1:
        raise FileNotFoundError(f"{directory} has {len(found)} append-only files, and one was expected")
    return found[0]


def is_whole(directory: Path) -> bool:
    """Whether the log tells everything from the beginning: it was never rewritten, cut or restored from a snapshot."""
    files = directory / "appendonlydir"
    logs, bases = [*files.glob("*.incr.aof")], [*files.glob("*.base.*")]
    return len(logs) == 1 and all(path.stat().st_size < BASE_BYTES_MAX for path in bases)


def _groups(path: Path) -> Iterator[list[Command]]:
    """Yield the commands that were written at once: one, or those between MULTI and EXEC."""
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


def check_history(directory: Path, heroes: int) -> list[str]:
    """Return what was wrong in any state that the store was ever in.

    In each of them everything that `Model` asks for must hold, and the writer of a hero must have owned it: a hero shows the
    token of its writer's claim. Blocks.
    """
    model, contents, wrong = Model(heroes), LogContents(), list[str]()
    for group in _groups(incremental_file(directory)):
        before = {number: contents.value(f"sim-hero:{number}:owner") for number in range(heroes)}
        blobs = {number: contents.value(f"sim-hero:{number}") for number in range(heroes)}
        touched = {key.decode() for command in group for key in contents.apply(command)}
        for number in range(heroes):
            key = f"sim-hero:{number}"
            if key not in touched or contents.value(key) == blobs[number]:  # a letter that goes back changes nothing
                continue
            written_by = load(contents.value(key) or b"", Hero).require().x
            if written_by != (token_of(before[number]) if blobs[number] is not None else 0.0):
                owner = before[number]
                wrong.append(f"owner: {key} was written under the claim {written_by:.0f} while {owner} owned it")
        if any(key.startswith("sim-") for key in touched):
            model.check(contents)
            if model.violations:
                break
    return wrong + model.violations
