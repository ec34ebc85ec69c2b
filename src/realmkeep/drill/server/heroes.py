"""The operations of the drill's own game."""

from collections.abc import Callable
from typing import Any

from realmkeep.drill.game import Chest, Coins, Hero, Sword, deposit, mail, open_letter, take_back, trade
from realmkeep.drill.server.server import Apart, DrillServer
from realmkeep.errors import CommitPending
from realmkeep.keeping import Hooks, Op, Returned, Session
from realmkeep.keeping.ownership.revisions import token_of


class HeroServer(DrillServer):
    """A server of heroes."""

    def __init__(self) -> None:
        super().__init__(Hero, Hooks())
        self.hooks.on_letter(Hero, Coins)(self._open_letter)
        self.hooks.on_letter(Hero, Returned)(self._take_back)

    def stamp(self, session: Session[Any]) -> None:
        """Mark a hero with the claim under which it is written: the checks compare it with the owner key.

        A token is microseconds since 1970, which a float holds exactly.
        """
        token = float(token_of(session.claim))
        if session.record.x != token:
            session.record.x = token

    def xp_of(self, record: Any) -> int:
        """Return the experience of a hero."""
        return record.xp

    def new_player(self, number: int) -> Hero:
        """Return a new hero; every other one has a sword."""
        return Hero(swords=[Sword(number)] if number % 2 else [])

    def _open_letter(self, hero: Hero, coins: Coins) -> None:
        open_letter(hero, coins)
        self._stamp_record(hero)

    def _take_back(self, hero: Hero, returned: Returned) -> None:
        take_back(hero, returned)
        self._stamp_record(hero)

    def _stamp_record(self, hero: Hero) -> None:
        (session,) = [session for session in self.keeper.sessions(Hero) if session.record is hero]
        self.stamp(session)

    async def do_leave_chest(self) -> dict[str, Any]:
        """Give the chest back, so that another server may hold it."""
        chest = self.keeper.session(Chest, 0)
        if chest is not None:
            await chest.release()
        return {}

    # --- changes of tier 2, and one that escalates

    async def do_earn(self, who: int, xp: int) -> dict[str, Any]:
        """Change fields of tier 2."""
        hero = self.here(who).record
        hero.xp += xp
        hero.target = xp
        return {"xp": hero.xp}

    async def do_die(self, who: int) -> dict[str, Any]:
        """Die: the change is written at once, and is durable when this returns."""
        session = self.here(who)
        session.record.deaths += 1
        session.record.hp, deaths = 0, session.record.deaths
        session.record.hp = 10
        try:
            await session.settled()
        except CommitPending as pending:
            await pending.wait()
        return {"deaths": deaths}

    # --- commits

    async def do_trade(self, who: int, to: int, amount: int, ops: tuple[int, int]) -> dict[str, Any]:
        """Trade between two players of this server."""
        giver, request = self.here(who), repr((who, to, amount, ops)).encode()
        taker = self.keeper.session(Hero, to)
        if taker is None or not taker.connected:
            return await self._recorded(giver, Op(ops[0], request))
        self.stamp(taker)

        def run(records: list[Any]) -> object:
            return trade(records[0], records[1], amount=amount, ops=(ops[0], ops[1]), fail=False)

        return await self._commit(run, [giver, taker], Op(ops[0], request), Op(ops[1], request))

    async def _recorded(self, giver: Session[Hero], op: Op) -> dict[str, Any]:
        """Answer a trade whose players have parted: it has happened if the giver's ring says so, and never will else."""
        if giver.recorded(op) is None:
            raise Apart
        await giver.settled()
        return {"repeated": True}

    async def do_deposit(self, who: int, amount: int, op: int) -> dict[str, Any]:
        """Move gold into the chest."""
        hero = self.here(who)
        chest = await self.keeper.hold(Chest, 0, create=Chest)

        def run(records: list[Any]) -> object:
            return deposit(records[0], records[1], amount=amount, op=op, who=who)

        return await self._commit(run, [hero, chest], Op(op, repr((who, amount)).encode()))

    async def do_mail(
        self, who: int, to: int, amount: int, op: int, letter: int, *, wanted: bool = True
    ) -> dict[str, Any]:
        """Send gold in a letter."""

        def run(records: list[Any]) -> object:
            return mail(self.keeper, records[0], to=to, amount=amount, op=op, letter=letter, wanted=wanted)

        return await self._commit(run, [self.here(who)], Op(op, repr((who, to, amount, letter)).encode()))

    async def _commit(
        self, run: Callable[[list[Any]], object], sessions: list[Session[Any]], *ops: Op
    ) -> dict[str, Any]:
        try:
            receipt = await self.keeper.commit_all(run, sessions, ops=ops)
        except CommitPending as pending:
            await pending.wait()
            return {"late": True}
        return {"repeated": receipt.repeated}
