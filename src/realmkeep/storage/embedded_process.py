"""The process of an embedded Valkey: it is started, adopted, waited for and stopped. POSIX only.

Two files are locked with `flock`. The process that owns the directory holds `server.lock`. The store holds `store.lock`: it
inherits the locked descriptor. As long as the store's process lives, a second one is not started, whether the first answers
or not. A lock ends with its process, so a crash leaves none behind.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from realmkeep.clock import Clock
from realmkeep.errors import FileRefused, StorageLocked, StorageMisconfigured, StorageUnavailable
from realmkeep.files import (
    check_tree,
    make_directory,
    open_for_append,
    open_private,
    open_trusted,
    read_file,
    replace_file,
)
from realmkeep.storage.append_only import cut_unsynced_end, sync_append_only_files
from realmkeep.storage.embedded_config import StoreSettings, configuration, find_binary
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import BROKEN, ask, make_connection
from realmkeep.storage.redis_errors import is_reply, reply_code
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.snapshot_file import SNAPSHOT, describe_snapshot, must_be_restored, was_copied_in

log = logging.getLogger(__name__)

SOCKET_PATH_BYTES_MAX: Final = 103  # sun_path has 104 bytes on macOS and BSD, 108 on Linux, with a NUL at the end
SILENCE_S_MAX: Final = 30.0  # the longest wait for a live store's answer; a store that says LOADING gets more time
RESTORE_S_MAX: Final = 600.0  # 4 GB, on a slow disk
STOP_S_MAX: Final = 60.0  # enough for the last snapshot of 4 GB
SILENT_STOP_S_MAX: Final = 5.0  # for an unresponsive store; killing it is safe: acknowledged writes are in its AOF
POLL_S: Final = 0.01
LOG_LINES_SHOWN: Final = 5
FILE_IS_DAMAGED: Final = "reading the append only file"  # the store's log has these words for every kind of damage
LOG_BYTES_SHOWN: Final = 16 * 1024  # its log may have grown for a year
FREE_BYTES_MIN: Final = 1024 * 1024  # with less, the append-only file cannot grow by one batch of writes
SAY_AGAIN_S: Final = 60.0  # the shortest time between two log lines about the same cause of death

log = logging.getLogger(__name__)


def socket_path(directory: Path) -> Path:
    """Return the socket of the store of `directory`: in it, or, if that path is too long for a socket, in /tmp.

    The path is always the same for one directory and user, so that the store can be found again after a crash.
    """
    direct = directory / "store.sock"
    if len(os.fsencode(direct)) <= SOCKET_PATH_BYTES_MAX:
        return direct
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
    return Path("/tmp") / f"realmkeep-{os.getuid()}" / f"{digest}.sock"  # noqa: S108 - checked to be ours alone


class StoreProcess:
    """The store process of one directory.

    Args:
        directory: The directory, as an absolute path.
        settings: The store's configuration; `directory` and `socket_path` are set here.
        clock: The clock.
    """

    def __init__(self, directory: Path, settings: StoreSettings, *, clock: Clock) -> None:
        self.directory = directory
        self.socket_path = socket_path(directory)
        self._settings = settings
        self._clock = clock
        self._lock_fd: int | None = None
        self._has_settings = False  # False for a store adopted after a crash: it may run with other settings
        self._child: subprocess.Popen[bytes] | None = None
        self._binary: Path | None = None
        self._exit_code: int | None = None  # of the last child, until it is reported
        self._is_restoring = False  # the store runs on a snapshot, without its append-only file
        self.notices: tuple[str, ...] = ()  # facts about its files for the operator
        self._said = ""
        self._said_s = 0.0

    async def lock(self) -> None:
        """Lock the directory for this process.

        Raises:
            StorageLocked: Another server has locked it.
            StorageMisconfigured: The directory cannot be made or written.
        """
        if self._lock_fd is None:
            self._lock_fd = await asyncio.to_thread(self._lock)

    def unlock(self) -> None:
        """Release the directory."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def ensure_running(self) -> bool:
        """Return when the store of this directory answers; True if it had to be started.

        Raises:
            StorageUnavailable: The store lives but has not answered for `SILENCE_S_MAX`, or its files cannot be used now.
            StorageMisconfigured: The store does not start; the message has the end of its log.
        """
        try:
            return await self._ensure_running()
        except OSError as error:  # a full disk may pass, so the error must be one that callers retry
            raise StorageUnavailable(
                f"the embedded store in {self.directory} cannot be started: {error}",
                hint="make room, or let this user write there",
            ) from error

    async def _ensure_running(self) -> bool:
        started = await asyncio.to_thread(self._start_unless_alive)
        try:
            await self._wait_until_it_answers()
        except StorageMisconfigured as error:  # the log tells of damage; only then read the whole file, which is slow
            if FILE_IS_DAMAGED not in error.message or not await asyncio.to_thread(self._cut, only_zeros=False):
                raise
            return await self._ensure_running()
        if self._is_restoring:
            await self._make_append_only_file()
            await self.stop()
            await self._ensure_running()
            return True
        if not started and not self._has_settings and await asyncio.to_thread(self._has_other_settings):
            await self.stop()
            return await self._ensure_running()
        self._has_settings = True
        return started

    async def stop(self) -> None:
        """End the store: with SHUTDOWN if it listens, then SIGTERM, then SIGKILL; returns when it is gone.

        Raises:
            StorageUnavailable: It survives all three; the directory stays locked.
        """
        if not await asyncio.to_thread(self._is_alive):
            await asyncio.to_thread(self._log_its_end, "")  # it died by itself
            return
        said = await self._ping()
        listens = said is None or is_reply(said)
        ways = (self._terminate, self._kill)
        for end in (self._ask_to_shut_down, *ways) if listens else ways:
            await end()
            if await self._is_gone(STOP_S_MAX if listens else SILENT_STOP_S_MAX):
                break
        else:
            raise StorageUnavailable(
                f"the embedded store in {self.directory} does not end", hint=f"end process {self._pid()} yourself"
            )
        await asyncio.to_thread(self._remove_socket)
        if not listens:  # it was dying, or was killed
            await asyncio.to_thread(self._log_its_end, "")

    # --- blocking parts, each run in a thread

    def _lock(self) -> int:
        try:
            make_directory(self.directory, closed=True)
            check_tree(self.directory)
            fd = open_private(self.directory / "server.lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise StorageLocked(
                f"the embedded store in {self.directory} is open in process {owner or 'unknown'}",
                hint="stop that server first, or give this one another directory; servers that share a store use one that"
                " runs by itself (realmkeep store config), through redis:// or redis+unix://",
            ) from error
        except OSError as error:
            os.close(fd)
            raise self._unusable(error) from error
        return fd

    def _unusable(self, error: OSError) -> StorageMisconfigured:
        if isinstance(error, FileRefused):
            return StorageMisconfigured(
                f"the directory {self.directory} of the embedded store is not used: {error.message}", hint=error.hint
            )
        return StorageMisconfigured(
            f"the directory {self.directory} of the embedded store cannot be used: {error.strerror}",
            hint="name a directory that this user may write, with space left",
        )

    def _start_unless_alive(self) -> bool:
        lock_fd = open_private(self.directory / "store.lock", os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._start(lock_fd)
            return True
        finally:
            os.close(lock_fd)  # the store has inherited the descriptor and holds the lock

    def _start(self, lock_fd: int) -> None:
        self._reap()  # a live store would hold the lock, so the child is dead
        self._log_its_end(" and is started again")
        self._binary = self._binary or find_binary()
        self._make_socket_directory()
        self._prepare_files()
        path = self.directory / "store.conf"
        replace_file(path, self._configuration().encode())
        with os.fdopen(open_for_append(self.directory / "store.log"), "ab") as said:
            self._child = subprocess.Popen(  # noqa: S603 - the operator's own choice of a server
                [self._binary, path],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(lock_fd,),
                start_new_session=True,  # so that Ctrl-C does not end it before the last flush
                cwd=self.directory,
                umask=0o077,  # its files hold players' data
            )

    def _log_its_end(self, then: str) -> None:
        """Log the end of the store with the alarms of its own log: only they name a cause such as a full disk."""
        if not self._has_settings:  # it never served this process
            return
        code, self._exit_code = self._exit_code, None
        how = "" if code is None else f" by signal {-code}" if code < 0 else f" with exit code {code}"
        alarms = re.findall(r" # (.+)", self._log_end())
        words = f"; its log says: {' '.join(alarms)}" if alarms else ""
        if shutil.disk_usage(self.directory).free < FREE_BYTES_MIN:
            words += "; its disk is full: make room"
        said = f"the embedded store in {self.directory} ended{how}{then}{words}"
        now_s = self._clock.monotonic_s()
        if said != self._said or now_s - self._said_s >= SAY_AGAIN_S:
            log.warning("%s", said)
            self._said, self._said_s = said, now_s

    def _prepare_files(self) -> None:
        """Prepare the files before each start: choose between snapshot and append-only file, cut and sync the latter."""
        self._is_restoring = must_be_restored(self.directory)
        if self._is_restoring:
            return
        self._cut(only_zeros=True)
        sync_append_only_files(self.directory)
        if not self._has_settings and (self.directory / SNAPSHOT).exists():
            level = logging.WARNING if was_copied_in(self.directory) else logging.INFO
            log.log(
                level,
                "the embedded store in %s loads its append-only file, and not its %s; to restore a snapshot, see"
                " docs/restoring.md",
                self.directory,
                describe_snapshot(self.directory),
            )

    def _cut(self, *, only_zeros: bool) -> bool:
        cut = cut_unsynced_end(self.directory, only_zeros=only_zeros)
        if cut is not None:
            log.warning("the embedded store in %s: %s", self.directory, cut)
            self.notices += (str(cut),)
        return cut is not None

    def _configuration(self) -> str:
        text = configuration(
            replace(
                self._settings,
                directory=str(self.directory),
                socket_path=str(self.socket_path),
                append_only=not self._is_restoring,
            )
        )
        return (
            text
            + "# A server that comes back after a crash finds the process by this file.\npidfile store.pid\n"
            + "# Keep the command line, by which the process is recognised before it is killed.\nset-proc-title no\n"
        )

    def _has_other_settings(self) -> bool:
        return read_file(self.directory / "store.conf").decode() != self._configuration()

    def _make_socket_directory(self) -> None:
        """Make the socket's directory if it is in /tmp, and refuse one that another user has made."""
        if self.socket_path.parent != self.directory:
            make_directory(self.socket_path.parent, closed=True)

    def _is_alive(self) -> bool:
        fd = open_private(self.directory / "store.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        self._reap()
        return False

    def _reap(self) -> None:
        if self._child:
            self._exit_code = self._child.wait()
            self._child = None

    def _remove_socket(self) -> None:
        """Tidy up: normally the store removes the socket itself, and the next store would replace it."""
        try:
            self.socket_path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the socket of the embedded store stays: %s", error)

    def _pid(self) -> int | None:
        try:
            return int(read_file(self.directory / "store.pid"))
        except (OSError, ValueError):
            return None

    def _signal(self, number: signal.Signals) -> None:
        pid = self._pid()
        if pid is not None and str(self.directory / "store.conf") in _command_line(pid):
            os.kill(pid, number)

    def _log_end(self) -> str:
        with open_trusted(self.directory / "store.log") as said:
            said.seek(max(0, said.seek(0, os.SEEK_END) - LOG_BYTES_SHOWN))
            lines = said.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LOG_LINES_SHOWN:] if line.strip())

    # --- waiting

    async def _wait_until_it_answers(self) -> None:
        deadline_s = self._clock.monotonic_s() + SILENCE_S_MAX
        while True:
            answer = await self._ping()
            if answer is None:
                return
            if reply_code(answer) == "LOADING":
                deadline_s = self._clock.monotonic_s() + SILENCE_S_MAX
            elif not await asyncio.to_thread(self._is_alive):
                raise StorageMisconfigured(
                    f"the embedded store in {self.directory} does not start: {await asyncio.to_thread(self._log_end)}",
                    hint=f"see {self.directory / 'store.log'}",
                ) from answer
            elif self._clock.monotonic_s() >= deadline_s:
                pid = await asyncio.to_thread(self._pid)
                raise StorageUnavailable(
                    f"the embedded store in {self.directory} lives as process {pid} but has not answered for"
                    f" {SILENCE_S_MAX:.0f} s",
                    hint=f"it may be stopped: kill -CONT {pid}",
                ) from answer
            await self._clock.sleep(POLL_S)

    async def _make_append_only_file(self) -> None:
        """Make the file from the loaded snapshot. Until it is complete and on disk, a crash restarts from the snapshot.

        Raises:
            StorageMisconfigured: The file cannot be made; the snapshot is unchanged.
            StorageUnavailable: It took too long.
        """
        connection = make_connection(self._address(STOP_S_MAX))
        try:
            async with self._clock.timeout(RESTORE_S_MAX):
                await connection.connect()
                keys = await ask(connection, "DBSIZE")
                await ask(connection, "CONFIG", "SET", "appendonly", "yes")
                while True:
                    info = await read_info(connection, "persistence")
                    if not int(info["aof_rewrite_in_progress"]) and not int(info["aof_rewrite_scheduled"]):
                        break
                    await self._clock.sleep(POLL_S)
        except (*BROKEN, TimeoutError) as error:
            raise StorageUnavailable(
                f"the embedded store in {self.directory} did not make an append-only file of its snapshot: {error}",
                hint=f"see {self.directory / 'store.log'}; the snapshot is unchanged",
            ) from error
        finally:
            await connection.disconnect(nowait=True)
        if info["aof_last_bgrewrite_status"] != "ok":
            raise StorageMisconfigured(
                f"the embedded store in {self.directory} cannot make an append-only file of its snapshot",
                hint=f"see {self.directory / 'store.log'}; make room on its disk",
            )
        told = f"it had no append-only file and was restored from {await asyncio.to_thread(describe_snapshot, self.directory)}"
        log.warning("the embedded store in %s: %s, with %s keys", self.directory, told, f"{keys:,}")
        self.notices += (told,)

    async def _ping(self) -> BaseException | None:
        """Return None if the store is ready, else its error reply or the connection's exception."""
        connection = make_connection(self._address(1.0))
        try:
            async with self._clock.timeout(1.0):
                await connection.connect()
                await ask(connection, "PING")
        except (*BROKEN, TimeoutError) as error:
            return error
        finally:
            await connection.disconnect(nowait=True)
        return None

    def _address(self, timeout_s: float) -> RedisAddress:
        return RedisAddress(socket_path=str(self.socket_path), timeout_s=timeout_s, connect_timeout_s=timeout_s)

    async def _is_gone(self, within_s: float) -> bool:
        deadline_s = self._clock.monotonic_s() + within_s
        while await asyncio.to_thread(self._is_alive):
            if self._clock.monotonic_s() >= deadline_s:
                return False
            await self._clock.sleep(POLL_S)
        return True

    # --- the three ways to end it

    async def _ask_to_shut_down(self) -> None:
        """Ask for SHUTDOWN with a snapshot; if that fails (a full disk), without: the append-only file is complete."""
        for how in ((), ("NOSAVE", "FORCE")):
            connection = make_connection(self._address(STOP_S_MAX))
            try:
                async with self._clock.timeout(STOP_S_MAX):
                    await connection.connect()
                    await ask(connection, "SHUTDOWN", *how)
            except (*BROKEN, TimeoutError) as error:
                if not is_reply(
                    error
                ):  # it closed the connection, as it should; or it does not answer: the caller waits
                    return
            finally:
                await connection.disconnect(nowait=True)

    async def _terminate(self) -> None:
        await asyncio.to_thread(self._signal, signal.SIGTERM)

    async def _kill(self) -> None:
        await asyncio.to_thread(self._signal, signal.SIGKILL)


def _command_line(pid: int) -> str:
    """Return the command line of a process, with blanks between its words; empty if the process does not exist."""
    proc = Path("/proc") / str(pid) / "cmdline"
    if Path("/proc/self").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape")
        except OSError:
            return ""
    listing = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - POSIX names it so
    return listing.stdout
