"""Files that are made, written and believed: never through a link, a pipe or a device, never another user's."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from realmkeep.errors import FileRefused
from realmkeep.files import (
    create_file,
    make_directory,
    open_for_append,
    open_private,
    read_file,
    read_secret,
    replace_file,
    sync_directory,
)

NOBODY = 65534


def appended(path: Path) -> None:
    os.close(open_for_append(path))


def replaced(path: Path) -> None:
    replace_file(path, b"ours")


def truncated(path: Path) -> None:
    os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC))


WAYS = pytest.mark.parametrize("write", [appended, replaced, truncated])


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("absent"))


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, _: Path) -> None:
    path.mkdir()


@WAYS
@pytest.mark.parametrize("plant", [link, dangling, hard_link, pipe, directory])
def test_what_was_planted_under_our_name_is_refused_and_untouched(
    tmp_path: Path, write: Callable[[Path], None], plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "ours"
    plant(path, victim)
    before = path.lstat()
    with pytest.raises(FileRefused, match="ours"):
        write(path)
    assert victim.read_text() == "precious"
    assert path.lstat().st_ino == before.st_ino
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ours", "victim"]


@WAYS
def test_a_file_that_others_may_write_is_refused_and_one_that_they_may_read_is_closed(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "ours"
    path.write_text("theirs?")
    path.chmod(0o646)
    with pytest.raises(FileRefused, match="chmod go-w"):
        write(path)
    assert path.read_text() == "theirs?"
    path.chmod(0o644)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@WAYS
def test_a_file_of_another_user_is_refused(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ours"
    path.write_text("theirs")
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(FileRefused, match="belongs to user"):
        write(path)
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for write in (appended, replaced, truncated):
            write(tmp_path / write.__name__)
        create_file(tmp_path / "created", b"")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_replacing_is_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [*tmp_path.iterdir()] == [path]


def test_creating_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_file(path, b"one")
    with pytest.raises(FileExistsError):
        create_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_links(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "file"
    create_file(path, b"one")
    with pytest.raises(FileExistsError):
        create_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_system_that_cannot_sync_a_directory_will_do_and_a_broken_one_will_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> None:
        def fsync(_: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(errno.EINVAL)
    sync_directory(tmp_path)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_a_full_disk_is_told_as_what_it_is_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        replace_file(tmp_path / "file", b"x")
    assert not isinstance(caught.value, FileRefused)
    assert [*tmp_path.iterdir()] == []


def test_a_descriptor_is_not_inherited(tmp_path: Path) -> None:
    descriptor = open_for_append(tmp_path / "file")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_what_is_read_must_be_a_file_that_others_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)
    assert read_file(path) == b"x"
    with pytest.raises(FileRefused, match="more than 0 bytes"):
        read_file(path, bytes_max=0)
    path.chmod(0o666)
    with pytest.raises(FileRefused, match="may be written by other users"):
        read_file(path)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(FileRefused, match="regular file"):
            read_file(other)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"pass word\n", b"pass word", b"pass word\r\n", b"\xef\xbb\xbfpass word\r\n"])
def test_a_secret_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    replace_file(path, content)
    assert read_secret(path) == "pass word"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"hidden \xff"])
def test_a_secret_that_is_none_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    replace_file(path, content)
    with pytest.raises(FileRefused) as caught:
        read_secret(path)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0o644)
    with pytest.raises(FileRefused, match="can be read by other users"):
        read_secret(path)


def test_a_directory_that_holds_ours_alone_is_closed_and_any_other_left(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    make_directory(tmp_path, closed=True)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
