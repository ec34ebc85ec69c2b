"""Directories of mode 0700 and files of mode 0600, whatever the umask, and never through a link, a device or a pipe.

All functions block. If a disk is full or broken, they raise the `OSError` of the system: that may pass. If the path itself is
at fault, they raise `FileRefused`, which is an `OSError` with a hint.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from realmkeep.errors import FileRefused
from realmkeep.files.trust import (
    check_name,
    check_owner,
    check_readers,
    check_writers,
    is_path_fault,
    printable_path,
    real_path,
    refusal,
)

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
READ_BYTES_MAX: Final = 1024 * 1024  # no configuration file is larger
# Windows has none of these flags and needs none: there, these opens follow no link and wait for no device.
_ALWAYS: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows alone
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EINVAL, errno.EACCES}
)
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF, errno.EACCES})


def make_directory(path: Path, *, closed: bool = False) -> Path:
    """Make a directory and its missing parents for this user alone; an existing one must be safe.

    Args:
        path: The directory.
        closed: The directory holds only Realmkeep's files, so an existing one is closed to other users (0700).

    Returns:
        Its real path.

    Raises:
        FileRefused: It is not a directory, or another user could change its contents.
        OSError: It cannot be made, for example because the disk is full.
    """
    real = real_path(path)
    try:
        for missing in reversed([each for each in (real, *real.parents) if not os.path.lexists(each)]):
            with suppress(FileExistsError):  # another process was faster; its directory is checked below
                missing.mkdir(DIRECTORY_MODE)
        status = real.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise FileRefused(f"{printable_path(real)} is not a directory", hint="name another place")
        check_owner(real, status)
        check_writers(real, status)  # even if sticky: other users could put files there under Realmkeep's names
        if closed:
            close_to_others(real)
    except OSError as error:
        if is_path_fault(error):
            raise refusal(real, error) from error
        raise
    return real


def close_to_others(path: Path) -> None:
    """Remove all rights of group and others, unless the file or directory belongs to root and this user is another.

    Raises:
        OSError: The mode cannot be changed.
    """
    if os.name != "posix":
        return
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 and status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode):
        path.chmod(mode & 0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a regular file that belongs to this user alone; with `O_CREAT` it is made with mode 0600.

    A file of this user that others may read is closed to them. `O_TRUNC` takes effect after all checks.

    Args:
        path: The file; its directory is checked as by `real_path`.
        flags: As for `os.open`; no link is followed, and no child process inherits the descriptor.

    Returns:
        The file descriptor.

    Raises:
        FileRefused: It is a link, a device, a pipe or a directory, belongs to another user, or others may write it; it was
            not changed.
        FileNotFoundError: It does not exist and `flags` lack `O_CREAT`, or its directory does not exist.
        FileExistsError: It exists, and `flags` have `O_EXCL`.
        OSError: The system refused, for example because the disk is full.
    """
    real = _checked_path(path)
    with suppress(FileNotFoundError):
        _check_ours(real, real.lstat())  # before it is opened: opening a pipe would block, and a device may act
    descriptor = _open(real, flags & ~os.O_TRUNC)
    try:
        _check_ours(real, os.fstat(descriptor))  # it may have been replaced since the first check
        _close_descriptor_to_others(descriptor)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open(real: Path, flags: int) -> int:
    try:
        return os.open(real, flags | _ALWAYS | _BINARY, FILE_MODE)
    except OSError as error:
        if is_path_fault(error):
            raise refusal(real, error) from error
        raise


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise refusal(path, OSError(errno.ELOOP, ""))
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{printable_path(path)} is not a regular file", hint="give the path of a file")


def _check_ours(path: Path, status: os.stat_result) -> None:
    _check_regular(path, status)
    if os.name != "posix":
        return
    check_owner(path, status)
    if status.st_uid != os.geteuid():
        raise FileRefused(
            f"{printable_path(path)} belongs to root, and this process runs as another user",
            hint="chown it to the user of this process, or remove it",
        )
    if status.st_nlink > 1:
        raise FileRefused(
            f"{printable_path(path)} has a second name (a hard link): writing it would change another file",
            hint="remove it, or replace it by a copy",
        )
    check_writers(path, status)


def _close_descriptor_to_others(descriptor: int) -> None:
    if os.name == "posix":
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            os.fchmod(descriptor, mode & 0o700)


def check_private(path: Path) -> bool:
    """Check as `open_private` does, without opening: for files that another library opens and locks itself.

    Args:
        path: A real path, in a directory that was checked.

    Returns:
        Whether the file exists; if so, it is now closed to others.

    Raises:
        FileRefused: It is not a regular file of this user alone.
        OSError: It cannot be read.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(path, error) from error
    _check_ours(path, status)
    close_to_others(path)
    return True


def check_tree(directory: Path) -> None:
    """Check that a directory holds only regular files, directories and sockets of this user; close them to others.

    This is for a server that opens files by name and would follow a link planted while the directory was open to others.

    Raises:
        FileRefused: The directory holds anything else.
        OSError: It cannot be read.
    """
    for entry in sorted(directory.iterdir()):
        status = entry.lstat()
        if stat.S_ISDIR(status.st_mode):
            check_owner(entry, status)
            check_writers(entry, status)
            close_to_others(entry)
            check_tree(entry)
        elif stat.S_ISSOCK(status.st_mode):
            check_owner(entry, status)
        else:
            check_private(entry)


def open_for_append(path: Path) -> int:
    """Open a file of this user alone for reading and appending; made if absent.

    Raises:
        FileRefused: As `open_private`.
        OSError: As `open_private`.
    """
    return open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file of this user alone at `path`, atomically; it is on disk when this returns.

    Raises:
        FileRefused: The path holds anything but a regular file of this user alone; it was not changed.
        OSError: The file cannot be written; the old one is unchanged.
    """
    real = _checked_path(path)
    with suppress(FileNotFoundError):
        _check_ours(real, real.lstat())
    staged = _stage(real, content)
    try:
        staged.replace(real)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    sync_directory(real.parent)


def create_file(path: Path, content: bytes) -> None:
    """As `replace_file`, for a path that must not exist yet.

    Raises:
        FileExistsError: The path exists.
        FileRefused: Its directory is not safe.
        OSError: The file cannot be written.
    """
    real = _checked_path(path)
    staged = _stage(real, content)
    try:
        os.link(staged, real)  # unlike a rename, fails if the path exists
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
        _create_without_links(real, content)
    finally:
        staged.unlink(missing_ok=True)
    sync_directory(real.parent)


def _create_without_links(real: Path, content: bytes) -> None:
    """Create a file on exFAT, SMB and the like: a crash midway leaves half a file, which its reader refuses."""
    descriptor = _open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(descriptor, content)
    except OSError:
        real.unlink(missing_ok=True)
        raise


def _checked_path(path: Path) -> Path:
    check_name(path)
    return real_path(path.parent) / path.name


def _stage(real: Path, content: bytes) -> Path:
    staged = real.with_name(f".{secrets.token_hex(8)}.new")
    descriptor = _open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(descriptor, content)
    except OSError:
        staged.unlink(missing_ok=True)  # a full disk keeps even an incomplete file
        raise
    return staged


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, if the file system supports it.

    Raises:
        OSError: The file system supports it, but failed.
    """
    if os.name != "posix":
        return
    directory = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # some network and user-space file systems do not support it
            raise
    finally:
        os.close(directory)


def open_trusted(path: Path, *, secret: bool = False) -> BinaryIO:
    """Open a file for reading that only this user or root can have written, as for `read_file`.

    Raises:
        FileRefused: It is not such a file.
        FileNotFoundError: It does not exist.
        OSError: It cannot be read.
    """
    real = real_path(path)
    _check_regular(path, real.lstat())  # before it is opened, as in open_private
    descriptor = _open(real, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        _check_regular(path, status)
        check_owner(path, status)
        check_writers(path, status)
        if secret:
            check_readers(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, *, secret: bool = False, bytes_max: int = READ_BYTES_MAX) -> bytes:
    """Read a file that only this user or root can have written; links are followed if only they can have made them.

    Args:
        path: The file.
        secret: Others must not be able to read it either; a file of root may be readable by a group of this user.
        bytes_max: A larger file is refused.

    Raises:
        FileRefused: It is not such a file, or it is too large.
        FileNotFoundError: It does not exist.
        OSError: It cannot be read.
    """
    with open_trusted(path, secret=secret) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise FileRefused(
            f"{printable_path(path)} has more than {bytes_max:,} bytes", hint="check that it is the right file"
        )
    return content


def read_secret(path: Path) -> str:
    """Read a password or passphrase from a file, without an editor's line end and byte order mark.

    Raises:
        FileRefused: Others may read or write it, it is empty, or it is not one line of text.
        FileNotFoundError: It does not exist.
        OSError: It cannot be read.
    """
    try:
        text = read_file(path, secret=True).decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:  # its message would quote the secret
        raise FileRefused(f"{printable_path(path)} is not text in UTF-8", hint="write the secret as one line") from None
    if not text or not text.isprintable():
        raise FileRefused(f"{printable_path(path)} does not hold one line of text", hint="write the secret as one line")
    return text
