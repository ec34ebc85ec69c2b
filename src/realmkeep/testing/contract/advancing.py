"""Extensions of values, and advances: the usual write of a game, for which a backend may have a faster way."""

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import (
    COMMITTED,
    Advance,
    Append,
    Delete,
    Extend,
    Failed,
    Guard,
    OwnedKeys,
    Put,
    Refused,
    Step,
    Storage,
)
from realmkeep.testing.contract.backend import Backend, ContractTests, commit, do, when
from realmkeep.testing.contract.values import FAR_S, PAST_S, SOON_S

PLAYERS = 40  # more than some backends write in one piece


def owned(number: int) -> OwnedKeys:
    """The keys of a player that a server owns."""
    record = f"player:{number}"
    return OwnedKeys(record, f"{record}:updated", f"{record}:owner", f"{record}:ops", b"us")


def step(number: int, follows: int = 1, *, line: bytes = b"") -> Step:
    """The next revision of a player."""
    return Step(owned(number), follows, follows + 1, b"%d after %d" % (number, follows), line)


async def make(storage: Storage, *numbers: int) -> None:
    """Store players of revision 1 that this server owns."""
    for of in map(owned, numbers):
        await commit(storage, Put(of.record, b"new"), Put(of.updated, b"1"), Put(of.owner, of.claim))


async def held(storage: Storage, number: int) -> list[bytes | None]:
    """Bytes, revision, claim and log of a player."""
    of = owned(number)
    return await storage.load_many([of.record, of.updated, of.owner, of.ops])


class AdvanceTests(ContractTests):
    """Extensions and advances."""

    async def test_an_extension_makes_or_extends_a_value(self, storage: Storage) -> None:
        await commit(storage, Extend("log", b"a"), Extend("log", b""), Extend("log", b"\x00\xff\r\n"))
        await commit(storage, Put("log2", b"x"), Extend("log2", b"y"), Delete("log"), Extend("log", b"b"))
        assert await storage.load_many(["log", "log2"]) == [b"b", b"xy"]
        await commit(storage, Extend("log2", b"z"), Put("log2", b"new"), Extend("log2", b"er"))
        assert await storage.load("log2") == b"newer"

    async def test_an_extension_keeps_the_expiry(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("later", b"a", expire_s=FAR_S), Put("kept", b"a"), Put("past", b"a", expire_s=SOON_S))
        await backend.elapse(PAST_S)
        await commit(storage, Extend("later", b"b"), Extend("kept", b"b"), Extend("past", b"c"))
        left_s, *never = await storage.expiries(["later", "kept", "past"])
        assert left_s is not None
        assert 0 < left_s <= FAR_S
        assert never == [None, None]
        assert await storage.load_many(["later", "kept", "past"]) == [b"ab", b"ab", b"c"]

    async def test_an_extended_value_is_seen_by_the_guards_behind_it(self, storage: Storage) -> None:
        await commit(storage, Put("log", b"a"))
        guard = Guard("log", b"a")
        assert await storage.write(
            [when(guard, then=(Extend("log", b"b"),)), when(guard), when(Guard("log", b"ab"), then=(Put("seen", b""),))]
        ) == [COMMITTED, Refused(guard, b"ab"), COMMITTED]
        assert await storage.load("seen") == b""

    async def test_a_list_is_not_extended(self, storage: Storage) -> None:
        await commit(storage, Append("list", b"a"))
        (outcome,) = await storage.write([do(Put("beside", b"b"), Extend("list", b"c"))])
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, WrongType)
        assert await storage.load_list("list") == [b"a"]
        assert await storage.load("beside") is None

    async def test_advances_advance_their_records(self, storage: Storage) -> None:
        await make(storage, *range(PLAYERS))
        trades = [Advance((step(number, line=b"l%d\n" % number), step(number + 1))) for number in range(0, PLAYERS, 2)]
        assert await storage.write(trades) == [COMMITTED] * len(trades)
        assert await storage.write([Advance((step(0, 2, line=b"more\n"),))]) == [COMMITTED]
        assert await held(storage, 0) == [b"0 after 2", b"3", b"us", b"l0\nmore\n"]
        assert await held(storage, PLAYERS - 1) == [b"%d after 1" % (PLAYERS - 1), b"2", b"us", None]
        assert await held(storage, PLAYERS - 2) == [
            b"%d after 1" % (PLAYERS - 2),
            b"2",
            b"us",
            b"l%d\n" % (PLAYERS - 2),
        ]

    async def test_the_entries_of_advances_are_appended_in_their_order(self, storage: Storage) -> None:
        await make(storage, *range(PLAYERS))
        advances = [
            Advance((step(number, line=b"l"),), Append("journal" if number % 5 else "other", b"%d" % number))
            for number in range(PLAYERS)
        ]
        await commit(storage, Put("player:7:updated", b"9"))
        outcomes = await storage.write(advances)
        assert outcomes == [
            COMMITTED if number != 7 else Refused(Guard("player:7:updated", b"1"), b"9") for number in range(PLAYERS)
        ]
        outcomes = await storage.write([Advance((step(1, 2),), Append("journal", b"again"))])
        assert outcomes == [COMMITTED]
        appended = [b"%d" % number for number in range(PLAYERS) if number % 5 and number != 7]
        assert await storage.load_list("journal") == [*appended, b"again"]
        assert await storage.load_list("other") == [b"%d" % number for number in range(0, PLAYERS, 5)]
        assert await held(storage, 2) == [b"2 after 1", b"2", b"us", b"l"]

    async def test_an_entry_for_a_value_fails_with_its_advance_alone(self, storage: Storage) -> None:
        await make(storage, 1, 2, 3, 4)
        await commit(storage, Put("value", b"theirs"))
        outcomes = await storage.write(
            [
                Advance((step(1),), Append("journal", b"one")),
                Advance((step(2, line=b"2"),), Append("value", b"two")),
                Advance((step(3),), Append("player:4", b"three")),
                Advance((step(4),), Append("journal", b"four")),
            ]
        )
        failed = [isinstance(each, Failed) and isinstance(each.error, WrongType) for each in outcomes]
        assert failed == [False, True, True, False]
        assert await storage.load_list("journal") == [b"one", b"four"]
        assert await held(storage, 2) == [b"new", b"1", b"us", None]
        assert await held(storage, 4) == [b"4 after 1", b"2", b"us", None]
        assert await storage.load("value") == b"theirs"

    async def test_an_advance_happens_wholly_or_not_at_all(self, storage: Storage) -> None:
        await make(storage, 1, 2, 3, 4, 5, 6)
        await commit(storage, Put("player:2:updated", b"9"), Put("player:4:owner", b"them"))
        lost = await storage.write(
            [
                Advance((step(1, line=b"1\n"), step(2))),
                Advance((step(3, line=b"3\n"), step(4))),
                Advance((step(5, line=b"5\n"), step(6))),
            ]
        )
        assert lost == [
            Refused(Guard("player:2:updated", b"1"), b"9"),
            Refused(Guard("player:4:owner", b"us"), b"them"),
            COMMITTED,
        ]
        assert await held(storage, 1) == [b"new", b"1", b"us", None]
        assert await held(storage, 3) == [b"new", b"1", b"us", None]
        assert await held(storage, 5) == [b"5 after 1", b"2", b"us", b"5\n"]

    async def test_the_advances_of_a_batch_follow_each_other(self, storage: Storage) -> None:
        await make(storage, 1, 2)
        batch = [Advance((step(1, follows, line=b"%d\n" % follows),)) for follows in range(1, PLAYERS)]
        assert await storage.write([*batch, Advance((step(2),))]) == [COMMITTED] * PLAYERS
        assert await held(storage, 1) == [
            b"1 after %d" % (PLAYERS - 1),
            b"%d" % PLAYERS,
            b"us",
            b"".join(b"%d\n" % follows for follows in range(1, PLAYERS)),
        ]

    async def test_an_advance_that_is_sent_twice_in_a_batch_happens_once(self, storage: Storage) -> None:
        await make(storage, 1, 2)
        twice, refused = Advance((step(1, line=b"once\n"),)), Refused(Guard("player:1:updated", b"1"), b"2")
        assert await storage.write([twice, twice, Advance((step(2), step(1)))]) == [COMMITTED, refused, refused]
        assert await held(storage, 1) == [b"1 after 1", b"2", b"us", b"once\n"]
        assert await held(storage, 2) == [b"new", b"1", b"us", None]

    async def test_advances_and_other_transactions_keep_their_order(self, storage: Storage) -> None:
        await make(storage, 1, 2, 3)
        released = Guard("player:1:owner", b"us")
        outcomes = await storage.write(
            [
                Advance((step(1, line=b"a\n"),)),
                when(Guard("player:1:ops", b"a\n"), then=(Put("player:1:ops", b"b\n"), Delete("player:1:owner"))),
                Advance((step(1, 2, line=b"c\n"),)),
                do(Put("player:2:updated", b"5")),
                Advance((step(2, 5),)),
                do(Put("player:2", b"by hand")),
                do(Put("player:3:ops", b"old\n")),
                Advance((step(3, line=b"new\n"),)),
            ]
        )
        assert outcomes == [COMMITTED, COMMITTED, Refused(released, None), *[COMMITTED] * 5]
        assert await held(storage, 1) == [b"1 after 1", b"2", None, b"b\n"]
        assert await held(storage, 2) == [b"by hand", b"6", b"us", None]
        assert await held(storage, 3) == [b"3 after 1", b"2", b"us", b"old\nnew\n"]

    async def test_a_put_beside_an_advance_of_its_key_keeps_its_place(self, storage: Storage) -> None:
        await make(storage, 1, 2, 3)
        assert await storage.write([Advance((step(1),)), do(Put("player:1", b"by hand"))]) == [COMMITTED] * 2
        assert await storage.write([do(Put("player:2:updated", b"5")), Advance((step(2, 5),))]) == [COMMITTED] * 2
        assert await storage.write([do(Put("player:3:ops", b"a")), Advance((step(3, line=b"b"),))]) == [COMMITTED] * 2
        assert await held(storage, 1) == [b"by hand", b"2", b"us", None]
        assert await held(storage, 2) == [b"2 after 5", b"6", b"us", None]
        assert await held(storage, 3) == [b"3 after 1", b"2", b"us", b"ab"]

    async def test_a_record_of_another_type_is_never_overwritten(self, storage: Storage) -> None:
        await make(storage, 1, 2, 3)
        await commit(storage, Delete("player:1"), Append("player:1", b"theirs"), Append("player:2:ops", b"theirs"))
        outcomes = await storage.write(
            [Advance((step(1, line=b"a\n"),)), Advance((step(2, line=b"b\n"),)), Advance((step(3, line=b"c\n"),))]
        )
        assert [isinstance(each, Failed) and isinstance(each.error, WrongType) for each in outcomes] == [
            True,
            True,
            False,
        ]
        assert await storage.load_list("player:1") == await storage.load_list("player:2:ops") == [b"theirs"]
        assert await storage.load_many(["player:1:updated", "player:1:ops", "player:2", "player:2:updated"]) == [
            b"1",
            None,
            b"new",
            b"1",
        ]
        assert await held(storage, 3) == [b"3 after 1", b"2", b"us", b"c\n"]
