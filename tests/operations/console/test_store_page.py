"""The store's page on a real Valkey: vital signs and slow commands, as far as the user of the store may ask for them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from realmkeep.operations.console.pages.store import FACTS
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.urls import open_storage
from realmkeep.testing.servers import StoreServer


async def test_slow_commands_are_told_by_their_names_alone_and_a_forbidden_question_is_no_error(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    extra = "slowlog-log-slower-than 0\nuser limited on >pass ~* &* +@all -slowlog\n"
    server = await asyncio.to_thread(new_server, tmp_path / "store", extra=extra)
    storage = open_storage(server.url)
    assert isinstance(storage, RedisStorage)
    await storage.connect()
    await storage.save("rover:7", b"a secret of a player")
    found = await storage.slow_log(50)
    info = await storage.info("server", "clients", "memory", "persistence", "stats")
    await storage.disconnect()
    assert {"SET", "RENAME"} & {name.partition("|")[0] for _, _, name in found}
    assert all(at_s > 0 and took_us >= 0 and " " not in name for at_s, took_us, name in found)
    assert FACTS.keys() <= info.keys()
    limited = RedisStorage(RedisAddress(socket_path=str(server.socket_path), username="limited", password="pass"))
    await limited.connect()
    assert await limited.slow_log(5) == []
    await limited.disconnect()
