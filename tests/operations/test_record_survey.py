"""Every record of a store through the loading path, a page at a time."""

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import cast

from keeping.game import Guild, Player
from realmkeep.operations.record_survey import PAGE_KEYS, RecordSurvey
from realmkeep.records import DEFAULT_LIMITS
from realmkeep.storage import Put, Storage, Transaction
from realmkeep.testing.lab import Lab


def survey_of(*classes: type) -> RecordSurvey:
    return RecordSurvey(classes, DEFAULT_LIMITS, accept_unchecked=False)


async def test_records_are_counted_and_the_unusable_are_named() -> None:
    async with Lab() as lab:
        for number in range(PAGE_KEYS + 1):
            await (await lab.keeper.login(Player, number, create=Player)).logout()
        await (await lab.keeper.hold(Guild, "red", create=Guild)).release()
        damage = [Put("rover:5", b"?"), Put("troll:1", b"?"), Put("other program", b"?"), Put("account:ada", b"?")]
        await lab.line().write([Transaction([], damage)])
        seen: list[int] = []
        survey = await survey_of(Player).run(lab.line(), seen.append)
        assert survey.records == {"rover": PAGE_KEYS}
        assert survey.versions == {"rover 1": PAGE_KEYS}
        assert [each.key for each in survey.unusable] == ["account:ada", "rover:5"]
        assert survey.unknown == {"guild": 1, "troll": 1}
        assert (survey.foreign, survey.foreign_count) == (("other program",), 1)
        assert not survey.sound
        assert (seen[-1], seen) == (survey.keys, sorted(seen))


async def test_a_sound_store() -> None:
    async with Lab() as lab:
        await (await lab.keeper.login(Player, 1, create=Player)).logout()
        assert (await survey_of(Player).run(lab.line())).sound


class Copying:
    """A store whose answers are bytes of their own, as those of a socket are."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def keys(self, pattern: str) -> AsyncIterator[str]:
        return self._storage.keys(pattern)

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [found and bytes(bytearray(found)) for found in await self._storage.load_many(keys)]


async def test_memory_is_that_of_two_pages() -> None:
    async with Lab() as lab:
        writes = [Transaction([], [Put(f"rover:{number}", b"?" * 20_000)]) for number in range(PAGE_KEYS * 20)]
        await lab.line().write(writes)
        tracemalloc.start()
        survey = await survey_of(Player).run(cast("Storage", Copying(lab.line())))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert survey.unusable_count == PAGE_KEYS * 20
        assert len(survey.unusable) == 100
        assert PAGE_KEYS * 20_000 < peak < 3 * PAGE_KEYS * 20_000
