"""A server of its own process that pays, archives, and kills itself at a named step of the archiver.

usage: python killed_archiver.py STORE_URL DIRECTORY FIRST_PAYMENT STEP ROUND
It prints the number of each payment once it is durable. Without a step it archives everything and ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from operations.journal.journaled import Purse, open_keeper, pay
from realmkeep.keeping import Keeper, Session
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.segments import Manifest
from realmkeep.storage import AnyTransaction, WriteOutcome

STEPS = ("read", "half a segment", "segment", "half a manifest", "manifest", "archived", "dropped unheard", "dropped")


class Killer:
    """Counts how often a step is reached once a payment is acknowledged, and kills the process at the wanted time."""

    def __init__(self, step: str, rounds: int) -> None:
        self.step = step
        self.left = rounds
        self.is_armed = False

    def at(self, step: str) -> None:
        if step == self.step and self.is_armed:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

    def is_next_at(self, step: str) -> bool:
        return step == self.step and self.is_armed and self.left == 1


class MortalArchive(FileArchive):
    """Files, with a death at the steps of their writing."""

    def __init__(self, directory: Path, killer: Killer) -> None:
        super().__init__(directory)
        self.killer = killer

    async def put(self, manifest: Manifest, packed: bytes) -> None:
        self.killer.at("read")
        await super().put(manifest, packed)
        self.killer.at("archived")

    async def write_file(self, path: Path, content: bytes) -> None:
        what = "segment" if path.name.endswith(".zst") else "manifest"
        if self.killer.is_next_at(f"half a {what}"):
            await super().write_file(path.with_name(f".{path.name}.new"), content[: len(content) // 2])
        self.killer.at(f"half a {what}")
        await super().write_file(path, content)
        self.killer.at(what)


class MortalArchiver(Archiver):
    """An archiver with a death at the steps of the drop."""

    killer: Killer

    async def drop(self, stored: Sequence[bytes]) -> None:
        storage, killer = self._storage, self.killer
        real = storage.write

        async def write(transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
            outcomes = await real(transactions)
            if any("journaled" in guard.key for each in transactions for guard in each.guards):
                killer.at("dropped unheard")
            return outcomes

        storage.write = write  # type: ignore[method-assign]
        try:
            await super().drop(stored)
        finally:
            storage.write = real  # type: ignore[method-assign]
        killer.at("dropped")


async def play(keeper: Keeper, first: int, ended: asyncio.Event, killer: Killer) -> None:
    sessions: list[Session[Purse]] = [
        await keeper.login(Purse, number, create=lambda: Purse(gold=1_000_000)) for number in range(8)
    ]

    async def trader(number: int) -> None:
        one, two = sessions[2 * number : 2 * number + 2]
        payment = first + number
        while not ended.is_set():
            await keeper.commit(partial(pay, note=str(payment)), one, two)
            sys.stdout.write(f"{payment}\n")
            sys.stdout.flush()
            killer.is_armed = True
            payment += 4

    await asyncio.gather(*map(trader, range(4)))


async def main(url: str, directory: Path, first: int, step: str, rounds: int) -> None:
    keeper = await open_keeper(url, directory)
    killer = Killer(step, rounds)
    archiver = MortalArchiver(
        keeper, MortalArchive(directory / "archive", killer), interval_s=60, keep_days=0, players=Purse
    )
    archiver.killer = killer
    if not step:
        while await archiver.archive_some():
            pass
        await keeper.close()
        return
    ended = asyncio.Event()
    playing = asyncio.create_task(play(keeper, first, ended, killer))
    while True:
        await archiver.archive_some()
        assert archiver.trouble == ""
        await asyncio.sleep(0)
        if playing.done():
            await playing


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
