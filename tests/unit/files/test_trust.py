"""Who could exchange a file, and what is said of it."""

import os
import stat
from pathlib import Path

import pytest

from realmkeep.errors import FileRefused
from realmkeep.files import make_directory, read_file, real_path
from realmkeep.files import trust as trust_module

NOBODY = 65534


def yes(_: object) -> bool:
    return True


def no(_: object) -> bool:
    return False


def make_foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's: given away where we may, otherwise seen with another user's eyes."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


def test_a_directory_that_others_may_write_is_refused_with_the_line_that_mends_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(FileRefused, match=f"chmod go-w {tmp_path}"):
        real_path(tmp_path / "file")
    tmp_path.chmod(0o755)
    assert real_path(tmp_path / "file") == tmp_path / "file"


def test_a_sticky_directory_is_a_way_but_no_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert make_directory(tmp_path / "ours") == tmp_path / "ours"
    with pytest.raises(FileRefused, match="may be written by other users"):
        make_directory(tmp_path)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    make_foreign(theirs, monkeypatch)
    with pytest.raises(FileRefused, match="belongs to user"):
        make_directory(theirs)
    with pytest.raises(FileRefused, match="belongs to user"):
        real_path(theirs / "file")


def test_a_link_of_another_user_is_not_followed_and_ours_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    there.mkdir()
    link = tmp_path / "link"
    link.symlink_to("there")
    assert real_path(link / "file") == there / "file"
    make_foreign(link, monkeypatch)
    with pytest.raises(FileRefused, match="belongs to user"):
        real_path(link / "file")


def test_what_a_link_leads_to_is_looked_at_too(tmp_path: Path) -> None:
    opened = tmp_path / "open"
    opened.mkdir()
    opened.chmod(0o777)
    (tmp_path / "link").symlink_to(opened / "x")
    with pytest.raises(FileRefused, match="open may be written"):
        real_path(tmp_path / "link")


@pytest.mark.parametrize(
    ("name", "said"),
    [("a\0b", "NUL"), ("x" * 256, "too long"), ("file/below", "not a directory"), ("round", "circle of links")],
)
def test_a_path_that_no_system_takes_is_told_in_a_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(FileRefused, match=said):
        real_path(tmp_path / name)


def test_a_name_that_is_not_utf8_is_shown_in_ascii(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J"))
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(FileRefused) as caught:
        make_directory(path)
    assert str(caught.value).isascii()
    assert "\x1b" not in str(caught.value)


def test_the_private_group_of_a_user_is_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems with such groups have a umask of 002: whatever their users make, the group may write."""
    tmp_path.chmod(0o775)
    monkeypatch.setattr(trust_module, "_is_our_group_alone", yes)
    assert make_directory(tmp_path) == tmp_path
    monkeypatch.setattr(trust_module, "_is_our_group_alone", no)
    with pytest.raises(FileRefused):
        make_directory(tmp_path)


def test_a_group_with_others_in_it_is_not_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp  # noqa: PLC0415 - POSIX only

    def peopled(gid: int) -> grp.struct_group:
        return grp.struct_group(("team", "x", gid, ["mallory"]))

    monkeypatch.setattr(grp, "getgrgid", peopled)
    assert not trust_module._is_our_group_alone(os.getegid())
    assert not trust_module._is_our_group_alone(54321), "a group that we are not in"


def test_a_file_system_that_is_mounted_read_only_has_no_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do Kubernetes and Docker mount configuration and secrets, in directories of mode 0777."""
    tmp_path.chmod(0o777)
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(trust_module, "_is_read_only", yes)
    assert read_file(tmp_path / "file") == b"x"


def kubernetes_secret(directory: Path, mode: int) -> Path:
    """The layout of a secret volume: links within a sticky directory, so that all is exchanged in one rename."""
    version = directory / "..2026_11_30"
    version.mkdir(parents=True)
    (version / "keys").write_text("secret")
    (version / "keys").chmod(mode)
    (directory / "..data").symlink_to(version.name)
    (directory / "keys").symlink_to("..data/keys")
    directory.chmod(0o1777)
    return directory / "keys"


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_a_kubernetes_secret_is_read_through_its_links(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubernetes_secret(tmp_path / "secret", mode)
    monkeypatch.setattr(trust_module, "ROOT", os.geteuid())
    monkeypatch.setattr(trust_module, "_is_our_group_alone", no)
    real_uid = os.geteuid()
    assert path.stat().st_uid == real_uid
    monkeypatch.setattr(os, "geteuid", lambda: real_uid + 1)  # its reader is a user of the group
    assert read_file(path, secret=True) == b"secret"


def test_a_kubernetes_secret_for_everybody_is_refused_with_a_hint_that_can_be_followed(tmp_path: Path) -> None:
    path = kubernetes_secret(tmp_path / "secret", 0o644)
    with pytest.raises(FileRefused, match="defaultMode: 0400, or 0440 with an fsGroup"):
        read_file(path, secret=True)


def test_what_is_made_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (made, made.parent)] == [0o700, 0o700]


def test_a_directory_that_may_not_be_entered_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may enter everything, so the system's refusal is played."""

    def refused(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", refused)
    for use in (make_directory, real_path, read_file):
        with pytest.raises(FileRefused, match=r"may not be used by this user .*ls -ld") as caught:
            use(tmp_path / "file")
        assert caught.value.hint


def test_a_sticky_directory_of_another_user_is_no_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o1777)
    make_foreign(theirs, monkeypatch)
    with pytest.raises(FileRefused, match="belongs to user"):
        real_path(theirs / "file")
