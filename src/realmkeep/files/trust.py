"""Who could change what lies at a path: owners and modes of everything on the way to it.

The rules are those of sshd's StrictModes and of git's safe.directory, with the exceptions that real machines need: a
sticky directory such as `/tmp`, a group that nobody else is in, and a file system that is mounted read-only, as
Kubernetes mounts its secrets. Windows has neither owners nor modes of this kind; there only names are checked.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from realmkeep.errors import FileRefused

LINKS_MAX: Final = 40  # as Linux counts them
ROOT: Final = 0

_PATH_ERRORS: Final = {
    errno.EACCES: (
        "may not be used by this user",
        "let this user enter its directory, and read and write there: ls -ld shows who may",
    ),
    errno.EPERM: ("may not be used by this user", "see its owner and its attributes: ls -ld, lsattr"),
    errno.ENAMETOOLONG: (
        "has a name that is too long for this file system",
        "most allow 255 bytes; give a shorter one",
    ),
    errno.ENOTDIR: ("lies below something that is not a directory", "correct the path"),
    errno.EISDIR: ("is a directory", "give the path of a file"),
    errno.ELOOP: ("is a symbolic link", "remove it, or name what it leads to"),
    errno.ENXIO: ("is not a regular file", "give the path of a file"),
}


def refusal(path: Path | str, error: Exception) -> FileRefused:
    """What is wrong with a path, in one sentence, for what the system or Python raised about it."""
    shown = shown_path(path)
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


def is_about_the_path(error: OSError) -> bool:
    """Whether another path would do: a full or broken disk is another matter, and may pass."""
    return error.errno in _PATH_ERRORS


def shown_path(path: Path | str) -> str:
    """`path` for a message: printable in any locale and on any console."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def real_path(path: Path) -> Path:
    """Where `path` really is, once nobody but this user and root could have led it anywhere else.

    Every directory on the way, and every directory on the way of every link, belongs to this user or to root, and no
    other user may write there (or it is sticky, and the entry is ours or root's). What does not exist yet is left
    as it is written.

    Raises:
        FileRefused: Another user could exchange what lies there; or the path cannot be used as it is written.
    """
    check_name(path)
    try:
        return _walk(path.absolute()) if os.name == "posix" else path.resolve()
    except (OSError, UnicodeError, RuntimeError) as error:
        raise refusal(path, error) from error


def check_name(path: Path) -> None:
    """Refuse what no system call takes.

    Raises:
        FileRefused: A NUL is in it, or the locale cannot spell it.
    """
    try:
        spelled = os.fsencode(path)
    except UnicodeError as error:
        raise refusal(path, error) from error
    if b"\0" in spelled:
        raise FileRefused(f"the path {shown_path(path)} has a NUL in it", hint="correct the path")


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
                raise FileRefused(f"{shown_path(path)} goes round in circles: a link leads back to itself")
            target = Path(entry.readlink())
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            at = Path(target.anchor) if target.is_absolute() else at
            continue
        if ahead and not stat.S_ISDIR(status.st_mode):
            raise FileRefused(f"{shown_path(entry)} is not a directory", hint="correct the path")
        at = entry
    return at


def check_directory(path: Path, status: os.stat_result) -> None:
    """A directory in which no other user can exchange what is ours.

    Raises:
        FileRefused: Another user could.
    """
    check_owner(path, status)
    if not status.st_mode & stat.S_ISVTX:
        check_writers(path, status)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Something that is ours or root's.

    Raises:
        FileRefused: It is not.
    """
    if os.name == "posix" and status.st_uid not in (os.geteuid(), ROOT):
        raise FileRefused(
            f"{shown_path(path)} belongs to user {_user_name(status.st_uid)}, who could exchange what is there",
            hint=f"run this as that user, chown {_user_name(os.geteuid())} it, or name another place",
        )


def check_writers(path: Path, status: os.stat_result) -> None:
    """Something that nobody but its owner and root may write.

    Raises:
        FileRefused: Others may.
    """
    if os.name != "posix" or not _may_others(status, stat.S_IWGRP, stat.S_IWOTH) or _is_read_only(path):
        return
    raise FileRefused(
        f"{shown_path(path)} may be written by other users",
        hint=f"look what they have put there, then chmod go-w {shown_path(path)}; or name another place",
    )


def check_readers(path: Path, status: os.stat_result) -> None:
    """A secret that nobody but its owner and root may read, or a group that root has put this user into.

    The secrets of Kubernetes (`defaultMode: 0440` with an `fsGroup`) and of Docker, and `/etc/ssl/private`, are kept so.

    Raises:
        FileRefused: Others may.
    """
    if os.name != "posix" or not _may_others(status, stat.S_IRGRP, stat.S_IROTH):
        return
    if status.st_uid == ROOT != os.geteuid() and not status.st_mode & stat.S_IROTH:
        return
    raise FileRefused(
        f"{shown_path(path)} can be read by other users",
        hint=f"chmod 600 {shown_path(path)}, then replace the secret in it;"
        " of a Kubernetes secret: defaultMode: 0400, or 0440 with an fsGroup",
    )


def _may_others(status: os.stat_result, by_group: int, by_all: int) -> bool:
    return bool(status.st_mode & by_all) or bool(status.st_mode & by_group and not _is_our_group_alone(status.st_gid))


def _is_our_group_alone(gid: int) -> bool:
    """Whether we are the only user of a group, as of the private group that many systems give to each user."""
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
