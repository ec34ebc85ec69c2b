"""Directories of mode 0700 and files of mode 0600, whatever the umask; never through a link, a device or a pipe.

All functions block. Those that fail for want of room, or of a working disk, raise `OSError` as it is: that may pass. What is
wrong with the path itself is `FileRefused`, which is an `OSError` too, and has a sentence and a hint.
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
    is_about_the_path,
    real_path,
    refusal,
    shown_path,
)

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
READ_BYTES_MAX: Final = 1024 * 1024  # a configuration of a megabyte is something else
# Windows has none of these: there is nothing to follow, nothing to inherit and nothing to wait for.
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
    """Make a directory, and what is missing on the way to it, for this user alone; one that is there must be safe.

    Args:
        path: The directory.
        closed: It holds nothing but ours, so one that others can look into is closed to them (0700).

    Returns:
        Where it really is.

    Raises:
        FileRefused: It is not a directory, or another user could change what lies in it.
        OSError: It cannot be made, as when the disk is full.
    """
    real = real_path(path)
    try:
        for missing in reversed([each for each in (real, *real.parents) if not os.path.lexists(each)]):
            with suppress(FileExistsError):  # another process was faster; looked at below
                missing.mkdir(DIRECTORY_MODE)
        status = real.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise FileRefused(f"{shown_path(real)} is not a directory", hint="name another place")
        check_owner(real, status)
        check_writers(real, status)  # sticky or not: strangers could put files under our names there
        if closed:
            close_to_others(real)
    except OSError as error:
        if is_about_the_path(error):
            raise refusal(real, error) from error
        raise
    return real


def close_to_others(path: Path) -> None:
    """Take every right to a file or directory from group and others, unless it is root's and not ours.

    Raises:
        OSError: It cannot be changed.
    """
    if os.name != "posix":
        return
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 and status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode):
        path.chmod(mode & 0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a regular file that is ours alone; with `O_CREAT` it is made 0600.

    A file of ours that others may read is closed to them. `O_TRUNC` happens after all checks.

    Args:
        path: The file; its directory is looked at as `real_path` does.
        flags: As for `os.open`; no link is followed, and no child process inherits the descriptor.

    Returns:
        The file descriptor.

    Raises:
        FileRefused: It is a link, a device, a pipe or a directory, another user's, or others may write it; it was not
            touched.
        FileNotFoundError: It is not there, and `flags` do not say `O_CREAT`; or its directory is not.
        FileExistsError: It is there, and `flags` say `O_EXCL`.
        OSError: The system's refusal, as when the disk is full.
    """
    real = _place(path)
    with suppress(FileNotFoundError):
        _check_ours(real, real.lstat())  # before it is opened: a pipe would wait, and a device may act
    descriptor = _open(real, flags & ~os.O_TRUNC)
    try:
        _check_ours(real, os.fstat(descriptor))  # it may have been exchanged meanwhile
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
        if is_about_the_path(error):
            raise refusal(real, error) from error
        raise


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise refusal(path, OSError(errno.ELOOP, ""))
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{shown_path(path)} is not a regular file", hint="give the path of a file")


def _check_ours(path: Path, status: os.stat_result) -> None:
    _check_regular(path, status)
    if os.name != "posix":
        return
    check_owner(path, status)
    if status.st_uid != os.geteuid():
        raise FileRefused(
            f"{shown_path(path)} belongs to root, and this is another user",
            hint="chown it to the user who runs this, or remove it",
        )
    if status.st_nlink > 1:
        raise FileRefused(
            f"{shown_path(path)} has a second name (a hard link), so that another file would be written",
            hint="remove it, or copy it and put the copy in its place",
        )
    check_writers(path, status)


def _close_descriptor_to_others(descriptor: int) -> None:
    if os.name == "posix":
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            os.fchmod(descriptor, mode & 0o700)


def check_private(path: Path) -> bool:
    """As `open_private`, without opening it: for files that another library opens, and locks by its own rules.

    Args:
        path: A real path, in a directory that was looked at.

    Returns:
        Whether there is such a file; it is closed to others then.

    Raises:
        FileRefused: It is no regular file of ours.
        OSError: It cannot be looked at.
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
    """Everything in a directory of ours: regular files, directories and sockets of ours alone; closed to others.

    For a server that opens them by their names, and would follow a link that was planted while the directory was open.

    Raises:
        FileRefused: Something else is there.
        OSError: It cannot be looked at.
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


def append_file(path: Path) -> int:
    """Open a file of ours alone for reading and appending; made if absent.

    Raises:
        FileRefused: As `open_private`.
        OSError: As `open_private`.
    """
    return open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file of ours alone at `path`, whole or not at all, on disk when it returns.

    Raises:
        FileRefused: What lies there is not a regular file of ours; it was not touched.
        OSError: It cannot be written; what was there is there.
    """
    real = _place(path)
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
    """As `replace_file`, where nothing may lie at `path` before.

    Raises:
        FileExistsError: Something does.
        FileRefused: Its directory is not safe.
        OSError: It cannot be written.
    """
    real = _place(path)
    staged = _stage(real, content)
    try:
        os.link(staged, real)  # fails if it exists, unlike a rename
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
        _create_without_links(real, content)
    finally:
        staged.unlink(missing_ok=True)
    sync_directory(real.parent)


def _create_without_links(real: Path, content: bytes) -> None:
    """For exFAT, SMB and the like: a crash in the middle leaves half a file, which its reader refuses."""
    descriptor = _open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(descriptor, content)
    except OSError:
        real.unlink(missing_ok=True)
        raise


def _place(path: Path) -> Path:
    check_name(path)
    return real_path(path.parent) / path.name


def _stage(real: Path, content: bytes) -> Path:
    staged = real.with_name(f".{secrets.token_hex(8)}.new")
    descriptor = _open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(descriptor, content)
    except OSError:
        staged.unlink(missing_ok=True)  # a full disk has room for a name
        raise
    return staged


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the file system can.

    Raises:
        OSError: It can, and failed.
    """
    if os.name != "posix":
        return
    directory = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # some network and user-space file systems have no such thing
            raise
    finally:
        os.close(directory)


def open_believed(path: Path, *, secret: bool = False) -> BinaryIO:
    """Open a file for reading that only this user or root can have written, as `read_file` does.

    Raises:
        FileRefused: It is not such a file.
        FileNotFoundError: It is not there.
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
    """A file that only this user or root can have written; links that only they can have made are followed.

    Args:
        path: The file.
        secret: It must not be readable by others either; root's files may be readable by a group of ours.
        bytes_max: A larger one is refused.

    Raises:
        FileRefused: It is not such a file, or it is too large.
        FileNotFoundError: It is not there.
        OSError: It cannot be read.
    """
    with open_believed(path, secret=secret) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise FileRefused(f"{shown_path(path)} has more than {bytes_max:,} bytes", hint="is it the right file?")
    return content


def read_secret(path: Path) -> str:
    """The password or passphrase in a file, without the line end and the byte order mark that editors put there.

    Raises:
        FileRefused: Others may read or write it, it is empty, or it is not one line of text.
        FileNotFoundError: It is not there.
        OSError: It cannot be read.
    """
    try:
        text = read_file(path, secret=True).decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:  # its message would quote it
        raise FileRefused(f"{shown_path(path)} is not text in UTF-8", hint="write the secret as one line") from None
    if not text or not text.isprintable():
        raise FileRefused(f"{shown_path(path)} does not hold one line of text", hint="write the secret as one line")
    return text
