"""Endings on real stores that do not do everything they are asked: an optional step never cancels a necessary one."""

import asyncio
import logging

import pytest

from keeping.game import enter
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")


@pytest.mark.parametrize(
    "rights",
    ["+@all -bgsave", "+@all -bgsave -config -info -save -debug -shutdown"],
    ids=["no snapshots", "hosted"],
)
async def test_a_store_whose_user_may_not_administer_it_is_closed_cleanly(
    server: StoreServer, caplog: pytest.LogCaptureFixture, rights: str
) -> None:
    user = ("ACL", "SETUSER", "game", "on", ">secret", "~*", "&*", *rights.split())
    assert await asyncio.to_thread(server.ask, *user) == b"OK"
    url = f"redis+unix://game:secret@{server.socket_path}"
    keeper = await Keeper.open(url, config=KeeperConfig(name="town"))
    (await enter(keeper)).record.xp = 5
    report = await keeper.close()
    assert (report.clean, report.released) == (True, 1)
    for left in ("*:owner", "*:lease"):
        assert await asyncio.to_thread(server.ask, "KEYS", left) == []
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]
    assert "the store took no snapshot" in caplog.text
