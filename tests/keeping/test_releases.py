"""Servers of two releases in one realm: a player goes from one to the other and back, and loses nothing."""

from collections.abc import Sequence
from typing import Any

import pytest

from realmkeep.config import KeeperConfig, RecordsConfig
from realmkeep.errors import Quarantined
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.records import IMMEDIATE, Record, durable
from realmkeep.records.codecs import CODECS, Codec
from realmkeep.storage.memory import MemoryStorage, MemoryStore

KIND = "settler"


class Settler(Record, kind=KIND, version=1):
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    xp: int = durable(default=0)


def later_release(readable_by: int) -> Any:
    """The same class in the next release, with one more field."""

    class Later(Record, kind=KIND, version=2, readable_by=readable_by):
        gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
        xp: int = durable(default=0)
        fame: int = durable(default=0)

    @Later.migration(1)
    def add_fame(plain: dict[str, Any]) -> dict[str, Any]:
        return plain

    return Later


async def opened(store: MemoryStore, names: Sequence[str], codec: Codec) -> list[Keeper]:
    records = RecordsConfig(codec=codec)
    return [await Keeper.open(MemoryStorage(store), config=KeeperConfig(name=name), records=records) for name in names]


def earn(settler: Any) -> None:
    settler.gold += 1


@pytest.mark.parametrize("codec", CODECS)
async def test_a_player_on_servers_of_two_releases_keeps_every_field(codec: Codec) -> None:
    store, later = MemoryStore(), later_release(readable_by=1)
    old, new = await opened(store, ("old", "new"), codec)
    for turn in range(1, 21):
        session = await new.login(later, 1, create=later)
        assert (session.record.gold, session.record.xp, session.record.fame) == (turn - 1, turn - 1, turn - 1)
        session.record.fame += 1
        await session.logout()
        session = await old.login(Settler, 1, create=Settler)
        await old.commit(earn, session)
        session.record.xp += 1
        await session.logout()
    assert await engine_of(old).storage.load(keys_of(Settler, 1).version) == b"2"
    for keeper in (old, new):
        assert (await keeper.close()).clean


async def test_a_release_that_older_ones_may_not_read_is_refused_there() -> None:
    store, later = MemoryStore(), later_release(readable_by=2)
    old, new = await opened(store, ("old", "new"), "json")
    await (await new.login(later, 1, create=later)).logout()
    with pytest.raises(Quarantined, match="stored at version 2, but this code knows versions up to 1"):
        await old.login(Settler, 1)
    for keeper in (old, new):
        await keeper.close()
