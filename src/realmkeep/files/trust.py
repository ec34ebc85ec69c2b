"""Decides whether another user could change a file: it checks owners and modes of everything on the path.

The rules are those of sshd's StrictModes and of git's safe.directory, with the exceptions that real machines need: a sticky
directory such as `/tmp`, a group without other members, and a file system mounted read-only, as Kubernetes mounts its
secrets. Windows has no owners and modes of this kind; there only names are checked.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from realmkeep.errors import FileRefused

LINKS_MAX: Final = 40  # Linux's limit
ROOT: Final = 0

_PATH_ERRORS: Final = {
    errno.EACCES: (
        "may not be used by this user",
        "let this user enter its directory, and read and write there: ls -ld shows owner and mode",
    ),
    errno.EPERM: ("may not be used by this user", "see its owner and its attributes: ls -ld, lsattr"),
    errno.ENAMETOOLONG: (
        "has a name that is too long for this file system",
        "most allow 255 bytes; give a shorter one",
    ),
    errno.ENOTDIR: ("has a parent that is not a directory", "correct the path"),
    errno.EISDIR: ("is a directory", "give the path of a file"),
    errno.ELOOP: ("is a symbolic link", "remove it, or name its target"),
    errno.ENXIO: ("is not a regular file", "give the path of a file"),
}


def refusal(path: Path | str, error: Exception) -> FileRefused:
    """Return the error about a path, in one sentence, for an exception of the system or of Python."""
    shown = printable_path(path)
    if isinstance(error, FileRefused):
        return error
    if isinstance(error, UnicodeError):
        return FileRefused(
            f"the path {shown} cannot be written in the encoding of this system's file names",
            hint="start it with LC_ALL=C.UTF-8, or with PYTHONUTF8=1",
        )
    if isinstance(error, OSError):
        what, hint = _PATH_ERRORS.get(error.errno or 0, (f"cannot be used: {error.strerror or error}", ""))
        return FileRefused(f"{shown} {what}", hint=hint)
    return FileRefused(f"the path {shown} cannot be used: {error}", hint="correct the path")


def is_path_fault(error: OSError) -> bool:
    """Whether the path is at fault, not a full or broken disk, which may pass."""
    return error.errno in _PATH_ERRORS


def printable_path(path: Path | str) -> str:
    """Return `path` in a form that every locale and console can print."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def real_path(path: Path) -> Path:
    """Return the real path, after checking that only this user and root could have directed it there.

    Every directory on the path, and on the path of every link, must belong to this user or to root, and no other user may
    write there (unless it is sticky, and the entry belongs to this user or to root). Missing parts are kept as they are.

    Raises:
        FileRefused: Another user could replace the file, or the path cannot be used.
    """
    check_name(path)
    try:
        return _walk(path.absolute()) if os.name == "posix" else path.resolve()
    except (OSError, UnicodeError, RuntimeError) as error:
        raise refusal(path, error) from error


def check_name(path: Path) -> None:
    """Refuse a path that no system call accepts.

    Raises:
        FileRefused: The path has a NUL, or the locale cannot encode it.
    """
    try:
        spelled = os.fsencode(path)
    except UnicodeError as error:
        raise refusal(path, error) from error
    if b"\0" in spelled:
        raise FileRefused(f"the path {printable_path(path)} has a NUL in it", hint="correct the path")


def _walk(path: Path) -> Path:
    at = Path(path.anchor)
    ahead = [*reversed(path.parts[1:])]
    links = 0
    while ahead:
        check_directory(at, at.stat())
        name = ahead.pop()
        if name == "..":
            at = at.parent
            continue
        entry = at / name
        try:
            status = entry.lstat()
        except FileNotFoundError:
            return entry.joinpath(*reversed(ahead))
        if stat.S_ISLNK(status.st_mode):
            check_owner(entry, status)
            links += 1
            if links > LINKS_MAX:
                raise FileRefused(f"{printable_path(path)} has a circle of links", hint="correct the link")
            target = Path(entry.readlink())
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            at = Path(target.anchor) if target.is_absolute() else at
            continue
        if ahead and not stat.S_ISDIR(status.st_mode):
            raise FileRefused(f"{printable_path(entry)} is not a directory", hint="correct the path")
        at = entry
    return at


def check_directory(path: Path, status: os.stat_result) -> None:
    """Check that no other user can replace an entry of a directory.

    Raises:
        FileRefused: Another user can.
    """
    check_owner(path, status)
    if not status.st_mode & stat.S_ISVTX:
        check_writers(path, status)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Check that a file or directory belongs to this user or to root.

    Raises:
        FileRefused: It belongs to another user.
    """
    if os.name == "posix" and status.st_uid not in (os.geteuid(), ROOT):
        raise FileRefused(
            f"{printable_path(path)} belongs to user {_user_name(status.st_uid)}, who could replace its contents",
            hint=f"run this as that user, chown {_user_name(os.geteuid())} it, or name another place",
        )


def check_writers(path: Path, status: os.stat_result) -> None:
    """Check that only its owner and root may write a file or directory.

    Raises:
        FileRefused: Others may.
    """
    if os.name != "posix" or not _may_others(status, stat.S_IWGRP, stat.S_IWOTH) or _is_read_only(path):
        return
    raise FileRefused(
        f"{printable_path(path)} may be written by other users",
        hint=f"check its contents, then chmod go-w {printable_path(path)}; or name another place",
    )


def check_readers(path: Path, status: os.stat_result) -> None:
    """Check that only its owner, root, or a group to which root has added this user may read a secret.

    Kubernetes (`defaultMode: 0440` with an `fsGroup`), Docker and `/etc/ssl/private` keep secrets in that way.

    Raises:
        FileRefused: Others may.
    """
    if os.name != "posix" or not _may_others(status, stat.S_IRGRP, stat.S_IROTH):
        return
    if status.st_uid == ROOT != os.geteuid() and not status.st_mode & stat.S_IROTH:
        return
    raise FileRefused(
        f"{printable_path(path)} can be read by other users",
        hint=f"chmod 600 {printable_path(path)}, then replace the secret in it;"
        " for a Kubernetes secret: defaultMode: 0400, or 0440 with an fsGroup",
    )


def _may_others(status: os.stat_result, by_group: int, by_all: int) -> bool:
    return bool(status.st_mode & by_all) or bool(status.st_mode & by_group and not _is_our_group_alone(status.st_gid))


def _is_our_group_alone(gid: int) -> bool:
    """Whether this user is the only member of a group, such as the private group that many systems give to each user."""
    import grp  # noqa: PLC0415 - POSIX only
    import pwd  # noqa: PLC0415 - POSIX only

    if gid not in {os.getegid(), *os.getgroups()}:
        return False
    named: set[str] = set()
    with suppress(KeyError):  # a number without a name, as in containers
        named.update(grp.getgrgid(gid).gr_mem)
    ours = {user.pw_name for user in pwd.getpwall() if user.pw_uid in (os.geteuid(), ROOT)}
    others = {user.pw_name for user in pwd.getpwall() if user.pw_gid == gid} | named
    return others <= ours


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _user_name(uid: int) -> str:
    import pwd  # noqa: PLC0415 - POSIX only

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
