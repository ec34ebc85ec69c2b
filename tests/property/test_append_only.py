"""The end of an append-only file that never reached the disk: cut off, and never a byte more than that."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.errors import StorageMisconfigured
from realmkeep.storage.append_only import (
    BLOCK_BYTES,
    FOLDER,
    MANIFEST,
    UNSYNCED_BYTES_MAX,
    Cut,
    cut_unsynced_end,
)

BASE, LAST = "appendonly.aof.1.base.rdb", "appendonly.aof.2.incr.aof"


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def group(*commands: bytes) -> bytes:
    return b"".join([command(b"MULTI"), *commands, command(b"EXEC")])


def record(size: int) -> bytes:
    return b'{"v":"%b"}' % (b"x" * size)


keys = st.sampled_from([b"player:1", b"player:2:inbox"])
values = st.binary(max_size=40) | st.integers(0, 4000).map(record)


def one(key: bytes, value: bytes) -> bytes:
    return command(b"SET", key, value)


def several(key: bytes, value: bytes) -> bytes:
    return group(command(b"SET", key, value), command(b"RPUSH", b"l", value))


written = st.builds(one, keys, values) | st.builds(several, keys, values)
files = st.lists(written, min_size=1, max_size=6)


@dataclass
class Store:
    """The files of a store that was cut off from its power."""

    directory: Path

    def has(self, content: bytes) -> "Store":
        (self.directory / FOLDER).mkdir(exist_ok=True)
        (self.directory / FOLDER / BASE).write_bytes(b"REDIS0012 \0\0\0\0 a base is no business of ours")
        (self.directory / MANIFEST).write_text(f"file {BASE} seq 1 type b\nfile {LAST} seq 2 type i\n")
        (self.directory / FOLDER / LAST).write_bytes(content)
        return self

    @property
    def last(self) -> bytes:
        return (self.directory / FOLDER / LAST).read_bytes()

    def cut(self, *, only_zeros: bool = False) -> Cut | None:
        base = (self.directory / FOLDER / BASE).read_bytes()
        cut = cut_unsynced_end(self.directory, only_zeros=only_zeros)
        assert (self.directory / FOLDER / BASE).read_bytes() == base
        return cut


def ends(commands: list[bytes]) -> list[int]:
    """The offsets at which the file is whole."""
    return [sum(map(len, commands[:count])) for count in range(len(commands) + 1)]


@given(files, st.data())
def test_a_file_cut_anywhere_is_whole_up_to_the_last_that_is_complete(
    commands: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(commands)
    size = data.draw(st.integers(0, len(whole)))
    with TemporaryDirectory() as name:
        store = Store(Path(name)).has(whole[:size])
        cut = store.cut()
        expected = max(end for end in ends(commands) if end <= size)
        assert store.last == whole[:expected]
        assert (cut.kept_in.read_bytes() if cut else b"") == whole[expected:size]


@given(files, files, st.integers(1, 9000), st.binary(max_size=600), st.data())
def test_zeros_and_what_follows_them_are_cut_and_what_was_synced_stays(
    synced: list[bytes], lost: list[bytes], zeros: int, after: bytes, data: st.DataObject
) -> None:
    """The lost part begins as it was written; from some byte on it reads as zeros; then more may follow."""
    whole = b"".join(synced)
    rest = b"".join(lost)
    begun = data.draw(st.integers(0, len(rest)))
    torn = rest[:begun] + bytes(zeros) + (after if zeros >= 2 * BLOCK_BYTES else b"")
    with TemporaryDirectory() as name:
        store = Store(Path(name)).has(whole + torn)
        store.cut()
        assert store.last.startswith(whole), "something acknowledged was lost"
        assert store.last in {(whole + rest)[: len(whole) + end] for end in ends(lost)}
        kept = [path.read_bytes() for path in store.directory.glob("*.cut-at-*")]
        assert b"".join([store.last, *kept]) == whole + torn


@given(files, st.binary(min_size=1, max_size=2000))
def test_garbage_at_the_end_is_cut(commands: list[bytes], garbage: bytes) -> None:
    whole = b"".join(commands)
    with TemporaryDirectory() as name:
        store = Store(Path(name)).has(whole + b"\x00" + garbage)
        store.cut()
        assert store.last == whole


@given(files, files, st.data())
def test_damage_that_is_not_at_the_end_is_left_to_an_operator(
    before: list[bytes], after: list[bytes], data: st.DataObject
) -> None:
    """A flipped sign: what comes after it was read and acknowledged after it, and is still there."""
    damaged = command(b"SET", b"player:3", b"x")
    content = b"".join([*before, b"!" + damaged[1:], *after])
    with TemporaryDirectory() as name:
        store = Store(Path(name)).has(content)
        with pytest.raises(StorageMisconfigured, match="not only at its end"):
            store.cut()
        assert store.last == content
        assert not [*store.directory.glob("*.cut-at-*")]


@given(files)
def test_what_is_whole_is_left_alone(commands: list[bytes]) -> None:
    content = b"".join([b"#TS:1767225600\r\n", *commands])
    with TemporaryDirectory() as name:
        store = Store(Path(name)).has(content)
        assert store.cut() is None
        assert store.last == content


def test_a_hole_within_a_value_is_found_before_the_store_loads_it(tmp_path: Path) -> None:
    """Valkey would load it, over the value that was acknowledged before."""
    old = command(b"SET", b"player:1", b'{"gold":1}')
    new = group(command(b"SET", b"player:1", b'{"gold":2,"diary":"' + bytes(4096) + b'"}'), command(b"DEL", b"x"))
    later = command(b"SET", b"player:2", b"{}")
    store = Store(tmp_path).has(old + new + later)
    cut = store.cut(only_zeros=True)
    assert cut is not None
    assert store.last == old
    assert cut.kept_in.read_bytes() == new + later
    assert "4,2" in str(cut)


def test_zeros_that_belong_there_are_left_alone(tmp_path: Path) -> None:
    content = command(b"SET", b"picture", bytes(100_000))
    store = Store(tmp_path).has(content)
    assert store.cut(only_zeros=True) is None
    assert store.last == content


def test_more_than_a_store_writes_between_two_fsyncs_is_left_to_an_operator(tmp_path: Path) -> None:
    content = command(b"SET", b"a", b"1") + bytes(UNSYNCED_BYTES_MAX + 1)
    store = Store(tmp_path).has(content)
    with pytest.raises(StorageMisconfigured):
        store.cut()
    assert len(store.last) == len(content)


def test_a_second_cut_at_the_same_place_keeps_the_first(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        Store(tmp_path).has(content).cut()
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.cut-at-0*")) == [b"one", b"two"]


def test_without_an_append_only_file_there_is_nothing_to_cut(tmp_path: Path) -> None:
    assert cut_unsynced_end(tmp_path, only_zeros=False) is None
    (tmp_path / FOLDER).mkdir()
    (tmp_path / MANIFEST).write_text(f"file {BASE} seq 1 type b\n")
    assert cut_unsynced_end(tmp_path, only_zeros=False) is None
    (tmp_path / MANIFEST).write_text(f"file {LAST} seq 1 type i\n")
    assert cut_unsynced_end(tmp_path, only_zeros=False) is None


def test_a_full_disk_cuts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path).has(b"torn")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.cut()
    assert store.last == b"torn"
