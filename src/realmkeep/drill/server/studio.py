"""The operations of a studio's game, through its driver."""

from typing import Any

from realmkeep.drill.server.server import Apart, DrillServer
from realmkeep.errors import CommitPending
from realmkeep.keeping import Hooks, Op, Session
from realmkeep.records import Record
from realmkeep.testing.drill import GameDriver


class StudioServer(DrillServer):
    """A server of a studio's players."""

    def __init__(self, driver: GameDriver) -> None:
        super().__init__(driver.players, Hooks())
        self._driver = driver

    def xp_of(self, record: Any) -> int:
        """Return the progress of a player."""
        return self._driver.progress(record)

    def new_player(self, number: int) -> Record:
        """Return a new player."""
        return self._driver.create(number)

    async def do_earn(self, who: int, xp: int) -> dict[str, Any]:
        """Change fields of tier 2."""
        player = self.here(who).record
        self._driver.earn(player, xp)
        return {"xp": self._driver.progress(player)}

    async def do_trade(self, who: int, to: int, amount: int, ops: tuple[int, int]) -> dict[str, Any]:
        """Trade between two players of this server; the recorded result is the worth of both afterwards."""
        giver, request = self.here(who), repr((who, to, amount, ops)).encode()
        taker = self.keeper.session(self.player, to)
        if taker is None or not taker.connected:
            return await self._recorded(giver, Op(ops[0], request))
        driver = self._driver

        def run(records: list[Any]) -> object:
            driver.trade(records[0], records[1], amount)
            return [dict(driver.worth(each)) for each in records]

        try:
            receipt = await self.keeper.commit_all(run, [giver, taker], ops=[Op(op, request) for op in ops])
        except CommitPending as pending:
            await pending.wait()
            return {"late": True}
        return {"repeated": receipt.repeated, "result": receipt.result}

    async def _recorded(self, giver: Session[Any], op: Op) -> dict[str, Any]:
        """Answer a trade whose players have parted: it has happened if the giver's ring says so, and never will else."""
        if giver.recorded(op) is None:
            raise Apart
        await giver.settled()
        return {"repeated": True}
