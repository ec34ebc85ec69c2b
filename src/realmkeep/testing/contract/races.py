"""Races of two storage objects on one store: two servers that want the same keys in the same moment.

A store whose isolation is too weak passes every test of one object. READ COMMITTED lets two creators both win, and lets each of
two transactions overlook the other (write skew); the suites of the backends have such stores as controls.
"""

import asyncio
import random
from collections.abc import Sequence
from itertools import count
from typing import Final

from realmkeep.storage.protocol import COMMITTED, Append, DropFirst, Guard, Put, Refused, Storage, Transaction
from realmkeep.testing.contract.backend import Backend, ContractTests, commit, rivals, when

RACES: Final = 40  # READ COMMITTED fails most of them; one is enough
ACCOUNTS: Final = tuple(f"account:{number}" for number in range(5))
GOLD: Final = 100
TRANSFERS: Final = 20  # of each object
LETTERS: Final = 30  # of each object
CROSSINGS: Final = 30  # of each object
PLACES: Final = tuple(f"place:{number}" for number in range(6))


class RaceTests(ContractTests):
    """Whatever two objects do at the same moment, the result is as if one had come after the other."""

    async def test_of_two_who_create_a_key_one_wins(self, storage: Storage, backend: Backend) -> None:
        async with rivals(storage, backend) as both:
            for race in range(RACES):
                key, names = f"created:{race}", (b"one", b"two")
                created = await asyncio.gather(
                    *(
                        rival.write([when(Guard(key, None), then=(Put(key, name),))])
                        for rival, name in zip(both, names, strict=True)
                    )
                )
                winner = await storage.load(key)
                for (outcome,), name in zip(created, names, strict=True):
                    assert outcome == (COMMITTED if name == winner else Refused(Guard(key, None), winner))

    async def test_of_two_who_build_on_what_the_other_changes_one_is_refused(
        self, storage: Storage, backend: Backend
    ) -> None:
        async with rivals(storage, backend) as both:
            for race, held in enumerate([None, b"free"] * (RACES // 2)):
                keys = (f"left:{race}", f"right:{race}")
                if held is not None:
                    await commit(storage, *(Put(key, held) for key in keys))
                guards = [Guard(key, held) for key in keys]
                outcomes = await asyncio.gather(
                    *(
                        rival.write([when(*guards, then=(Put(key, b"mine"),))])
                        for rival, key in zip(both, keys, strict=True)
                    )
                )
                assert sorted(type(outcome).__name__ for (outcome,) in outcomes) == ["Committed", "Refused"]
                assert sorted(await storage.load_many(keys), key=repr) == sorted([b"mine", held], key=repr)

    async def test_money_that_two_move_about_is_conserved(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, *(Put(account, b"%d" % GOLD) for account in ACCOUNTS))
        async with rivals(storage, backend) as both:
            movers = [asyncio.create_task(_move(rival, random.Random(seed))) for seed, rival in enumerate(both * 2)]  # noqa: S311
            while not all(mover.done() for mover in movers):
                assert await _total(storage) == GOLD * len(ACCOUNTS)
                await asyncio.sleep(0)
            await asyncio.gather(*movers)
            assert await _total(both[1]) == GOLD * len(ACCOUNTS)

    async def test_no_letter_is_lost_between_two_who_send_and_two_who_open(
        self, storage: Storage, backend: Backend
    ) -> None:
        opened: dict[int, list[bytes]] = {}  # by the number of those before
        async with rivals(storage, backend) as both:
            senders = [asyncio.create_task(_send(rival, number)) for number, rival in enumerate(both)]
            await asyncio.gather(*senders, *(_open_all(rival, opened, senders) for rival in both))
        assert await storage.load_list("inbox") == []
        in_order = [letter for done in sorted(opened) for letter in opened[done]]
        for number in range(2):
            assert [letter for letter in in_order if letter.startswith(b"%d." % number)] == _letters(number)
        assert len(in_order) == 2 * LETTERS

    async def test_two_who_want_the_same_keys_in_any_order_both_get_them(
        self, storage: Storage, backend: Backend
    ) -> None:
        await commit(storage, *(Put(place, b"0") for place in PLACES))
        async with rivals(storage, backend) as both:
            crossings = [_cross(rival, random.Random(seed)) for seed, rival in enumerate(both * 2)]  # noqa: S311
            await asyncio.gather(*crossings)
        assert len(set(await storage.load_many(PLACES))) == 1, "a transaction is torn"


async def _move(rival: Storage, rng: random.Random) -> None:
    """Move gold between random accounts, each time guarded by what both held."""
    moved = 0
    while moved < TRANSFERS // 2:
        pair = rng.sample(ACCOUNTS, 2)
        payer, payee = [int(held or b"") for held in await rival.load_many(pair)]
        gold = rng.randint(0, payer)
        (outcome,) = await rival.write(
            [
                when(
                    Guard(pair[0], b"%d" % payer),
                    Guard(pair[1], b"%d" % payee),
                    then=(Put(pair[0], b"%d" % (payer - gold)), Put(pair[1], b"%d" % (payee + gold))),
                )
            ]
        )
        assert outcome == COMMITTED or isinstance(outcome, Refused), outcome
        moved += outcome == COMMITTED


async def _total(storage: Storage) -> int:
    return sum(int(held or b"") for held in await storage.load_many(ACCOUNTS))


def _letters(sender: int) -> list[bytes]:
    return [b"%d.%d" % (sender, number) for number in range(LETTERS)]


async def _send(rival: Storage, sender: int) -> None:
    for letter in _letters(sender):
        assert await rival.write([when(then=(Append("inbox", letter),))]) == [COMMITTED]


async def _open_all(rival: Storage, opened: dict[int, list[bytes]], senders: Sequence[asyncio.Task[None]]) -> None:
    """Open letters until none is left and none will come; the guard is the number of those that were opened before."""
    for turn in count():
        all_sent = all(sender.done() for sender in senders)
        before = await rival.load("opened")
        letters = await rival.load_list("inbox", count=1 + turn % 4)
        if not letters:
            if all_sent:
                return
            await asyncio.sleep(0)
            continue
        done = int(before or b"0")
        (outcome,) = await rival.write([_opening(before, done + len(letters), letters)])
        assert outcome == COMMITTED or isinstance(outcome, Refused), outcome
        if outcome == COMMITTED:
            opened[done] = letters


def _opening(before: bytes | None, done: int, letters: Sequence[bytes]) -> Transaction:
    return when(Guard("opened", before), then=(DropFirst("inbox", len(letters)), Put("opened", b"%d" % done)))


async def _cross(rival: Storage, rng: random.Random) -> None:
    """Write the same value to every place, in another order each time."""
    for _ in range(CROSSINGS // 2):
        value = b"%d" % rng.getrandbits(32)
        places = rng.sample(PLACES, len(PLACES))
        assert await rival.write([when(then=tuple(Put(place, value) for place in places))]) == [COMMITTED]
