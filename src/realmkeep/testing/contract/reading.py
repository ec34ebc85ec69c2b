"""Reads, key patterns, and the conveniences: counters, save, delete, sweep."""

import asyncio

import pytest

from realmkeep import keys
from realmkeep.errors import ValueTooLarge, WrongType
from realmkeep.storage.protocol import COMMITTED, Append, Delete, DropFirst, Put, Storage
from realmkeep.testing.contract.backend import Backend, ContractTests, all_keys, commit, do

SECOND_US = 1_000_000


class ReadTests(ContractTests):
    """Reading values and lists."""

    async def test_what_is_absent_is_none(self, storage: Storage) -> None:
        assert await storage.load("a") is None
        assert await storage.load_many(["a", "b"]) == [None, None]
        assert await storage.load_list("a") == []
        assert not await storage.exists("a")

    async def test_many_values_come_in_the_order_asked_for(self, storage: Storage) -> None:
        await storage.write([do(Put(f"key:{n}", b"%d" % n)) for n in range(2500)])
        wanted = [f"key:{n}" for n in range(2499, -1, -1)] + ["absent", "key:0", "key:0"]
        expected = [b"%d" % n for n in range(2499, -1, -1)] + [None, b"0", b"0"]
        assert await storage.load_many(wanted) == expected
        assert await storage.load_many([]) == []

    async def test_part_of_a_list(self, storage: Storage) -> None:
        entries = [b"%d" % n for n in range(10)]
        await commit(storage, *(Append("l", entry) for entry in [b"dropped", *entries]))
        await commit(storage, DropFirst("l", 1))
        assert await storage.load_list("l") == entries
        for start in (0, 1, 9, 10, 99):
            assert await storage.load_list("l", start=start) == entries[start:]
            for count in (0, 1, 3, 99):
                assert await storage.load_list("l", start=start, count=count) == entries[start : start + count]

    async def test_a_negative_part_of_a_list_is_refused(self, storage: Storage) -> None:
        for start, count in ((-1, None), (0, -1)):
            with pytest.raises(ValueError, match="negative"):
                await storage.load_list("l", start=start, count=count)

    async def test_exists_sees_values_and_lists(self, storage: Storage) -> None:
        await commit(storage, Put("a", b""), Append("l", b""))
        assert [await storage.exists(key) for key in ("a", "l", "b")] == [True, True, False]


class KeysTests(ContractTests):
    """Iteration over the keys."""

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*", ["[a]", "a", "a*b", "a?b", "a\\b", "a\nb", "aXb", "aüb", "b", "player:1", "player:12", "player:1:ops"]),
            ("player:*", ["player:1", "player:1:ops", "player:12"]),
            ("player:?", ["player:1"]),
            ("player:1?", ["player:12"]),
            ("*:ops", ["player:1:ops"]),
            ("p*:1*", ["player:1", "player:1:ops", "player:12"]),
            ("a", ["a"]),
            ("[a]", ["[a]"]),
            ("[ab]", []),
            ("[^b]", []),
            ("a[*]b", []),
            ("a?b", ["a*b", "a?b", "a\\b", "a\nb", "aXb", "aüb"]),
            ("a??b", []),
            (r"a\?b", ["a?b"]),
            (r"a\*b", ["a*b"]),
            (r"a\\b", ["a\\b"]),
            (r"\a", ["a"]),
            (r"\[a\]", ["[a]"]),
            ("a\\", []),
            ("", []),
            ("a\nb", ["a\nb"]),
            ("aü?", ["aüb"]),
            ("A", []),
        ],
    )  # fmt: skip
    async def test_a_pattern_has_two_wildcards_and_one_escape(
        self, storage: Storage, pattern: str, expected: list[str]
    ) -> None:
        names = ["a", "b", "a*b", "a?b", "a\\b", "a\nb", "aXb", "aüb", "[a]", "player:1", "player:12"]
        await commit(storage, Append("player:1:ops", b"x"), *(Put(name, b"") for name in names))
        assert await all_keys(storage, pattern) == sorted(expected)

    async def test_a_backslash_at_the_end_stands_for_itself(self, storage: Storage) -> None:
        await commit(storage, Put("a\\", b""), Put("a", b""))
        assert await all_keys(storage, "a\\") == ["a\\"]

    async def test_thousands_of_keys_are_seen_each_once(self, storage: Storage) -> None:
        names = [f"key:{n}" for n in range(3000)]
        await storage.write([do(Put(name, b"")) for name in names])
        await storage.write([do(Put(f"other:{n}", b"")) for n in range(100)])
        assert await all_keys(storage, "key:*") == sorted(names)

    async def test_what_exists_throughout_is_seen_while_others_come_and_go(self, storage: Storage) -> None:
        stays = [f"stays:{n}" for n in range(1500)]
        await storage.write([do(Put(name, b"")) for name in stays])
        await storage.write([do(Put(f"goes:{n}", b"")) for n in range(1500)])
        seen: list[str] = []
        async for key in storage.keys():
            if len(seen) % 300 == 0:
                fresh = [do(Put(f"comes:{len(seen)}:{n}", b"")) for n in range(100)]
                await storage.write([*fresh, *(do(Delete(f"goes:{n}")) for n in range(1500))])
            seen.append(key)
        assert len(seen) == len(set(seen))
        assert set(stays) <= set(seen)

    async def test_an_iteration_can_be_abandoned(self, storage: Storage) -> None:
        await storage.write([do(Put(f"key:{n}", b"")) for n in range(2000)])
        async for key in storage.keys():
            assert key.startswith("key:")
            break
        assert await storage.write([do(Put("a", b""))]) == [COMMITTED]
        assert await all_keys(storage, "a") == ["a"]


class ConvenienceTests(ContractTests):
    """Counters, save, delete and sweep."""

    async def test_counters_count(self, storage: Storage) -> None:
        assert [await storage.increment("n", by) for by in (1, 5, -10, 0, 2**62)] == [1, 6, -4, -4, 2**62 - 4]
        assert await storage.load("n") == str(2**62 - 4).encode()
        await commit(storage, Put("n", b"41"))
        assert await storage.increment("n") == 42

    async def test_concurrent_increments_return_every_number_once(self, storage: Storage) -> None:
        numbers = await asyncio.gather(*(storage.increment("n") for _ in range(50)))
        assert sorted(numbers) == list(range(1, 51))

    @pytest.mark.parametrize("value", [b"", b"x", b"1.5", b" 1", b"01", b"+1", b"1\n", b"9223372036854775808"])
    async def test_what_is_no_number_is_not_incremented(self, storage: Storage, value: bytes) -> None:
        await commit(storage, Put("n", value))
        with pytest.raises(WrongType, match="'n'"):
            await storage.increment("n")
        assert await storage.load("n") == value

    async def test_a_counter_does_not_overflow(self, storage: Storage) -> None:
        for edge, by in ((2**63 - 1, 1), (-(2**63), -1)):
            text = str(edge).encode()
            await commit(storage, Put("n", text))
            assert await storage.increment("n", 0) == edge
            with pytest.raises(WrongType, match="'n'"):
                await storage.increment("n", by)
            assert await storage.load("n") == text
        for by in (2**63, -(2**63) - 1):
            with pytest.raises(ValueTooLarge):
                await storage.increment("fresh", by)
        assert not await storage.exists("fresh")

    async def test_save_replaces_and_leaves_nothing_behind(self, storage: Storage) -> None:
        await storage.save("a", b"1")
        await storage.save("a", b"2")
        await storage.save("b", b"")
        assert await storage.load_many(["a", "b"]) == [b"2", b""]
        assert await all_keys(storage) == ["a", "b"]

    async def test_delete_says_whether_something_was_there(self, storage: Storage) -> None:
        await commit(storage, Put("a", b""))
        assert [await storage.delete("a"), await storage.delete("a")] == [True, False]

    async def test_only_staged_values_of_more_than_an_hour_are_swept(self, storage: Storage, backend: Backend) -> None:
        now_us = backend.clock.wall_us()
        hour_us = 3600 * SECOND_US
        old = [keys.temp(f"player:{n}", now_us=now_us - hour_us - 60 * SECOND_US * n, unique="a") for n in range(1, 4)]
        young = [
            keys.temp("player:1", now_us=now_us - age_us, unique="b") for age_us in (0, 60 * SECOND_US, hour_us // 2)
        ]
        others = [
            "temp",
            "temp:",
            "temp:1",
            "temp:x:a:player:1",
            "temperature:1:a:player:1",
            "player:1",
            "server:config",
        ]
        await commit(storage, *(Put(key, b"") for key in [*old, *young, *others]))
        assert await storage.sweep_temp() == len(old)
        assert await all_keys(storage) == sorted([*young, *others])
        assert await storage.sweep_temp() == 0
        assert await storage.sweep_temp(older_than_s=1200) == 1
        assert await all_keys(storage) == sorted([*young[:2], *others])
