"""A server that lets players in all at once when it is told to. Run as a process.

Run: `python -m faults.archive_thawer STORE ARCHIVE NAME PLAYERS`. It says `ready`; a line on standard input lets everybody in,
and the answers come as a line of JSON; a second line closes it.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from faults.archive_actor import say
from operations.archive.rig import HOOKS, Nomad
from realmkeep.config import ArchiveConfig, KeeperConfig
from realmkeep.errors import AlreadyOwned, StorageUnavailable
from realmkeep.keeping import Keeper
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.storage import open_cold_store, open_storage

AGAIN_S = 0.05
LAST_S = 60.0


class Answers(msgspec.Struct):
    """What the players of one server were told.

    Attributes:
        gold: The gold of those who were let in, once their letters were opened.
        refused: The owner that the others were told.
    """

    gold: dict[int, int]
    refused: dict[int, str]


async def let_in(keeper: Keeper, id_: int, answers: Answers) -> None:
    """A server that is asked for very many rows at once may say: try again."""
    while True:
        try:
            session = await keeper.login(Nomad, id_)
        except AlreadyOwned as error:
            answers.refused[id_] = error.server
            return
        except StorageUnavailable:
            await asyncio.sleep(AGAIN_S)
        else:
            assert session is not None
            await session.open_letters()
            answers.gold[id_] = session.record.gold
            return


async def main(store: str, archive: str, name: str, players: int) -> None:
    storage, cold = open_storage(store), open_cold_store(archive)
    await cold.connect()
    config = KeeperConfig(name=name, tier1_rate_per_s=1000)
    keeper = await Keeper.open(storage, config=config, hooks=HOOKS, cold=cold, rescue_path=Path(os.devnull))
    archiver = ColdArchiver(keeper, cold, ArchiveConfig())
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    answers = Answers({}, {})
    await asyncio.gather(*(let_in(keeper, id_, answers) for id_ in range(players)))
    say(msgspec.json.encode(answers).decode())
    await asyncio.to_thread(sys.stdin.readline)
    await keeper.close()
    assert await archiver.ship_last(LAST_S)
    await cold.disconnect()
    await storage.disconnect()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
