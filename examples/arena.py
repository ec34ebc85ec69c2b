"""The arena: a small game over TCP, with players that Realmkeep keeps.

Start it with `python examples/arena.py`, and play it from other terminals with `nc 127.0.0.1 7788`:

    login ada         your player; made at the first login
    move 3.5          durable within 60 s
    1 attack          hit the wolf: an operation, durable before it is answered; every third blow earns 10 gold
    2 pay bob 10      to a player who is in the arena

An operation without an answer is sent again under its number. It happens once, also after a crash: kill the server with
`kill -9`, start it again, log in, and look.
"""

import asyncio
import signal
import sys

from realmkeep import (
    CHECKPOINT,
    IMMEDIATE,
    Ack,
    Keeper,
    KeeperConfig,
    Op,
    Receipt,
    Record,
    Session,
    answer,
    durable,
)
from realmkeep.errors import RealmkeepError


class Player(Record, kind="arena-player", version=1):
    """A player: each field says how soon it must be durable."""

    gold: int = durable(default=20, ge=0, tier=IMMEDIATE)  # changes in a commit alone
    blows: int = durable(default=0)  # within 30 s
    x: float = durable(default=0.0, tier=CHECKPOINT)  # within 60 s


class Arena:
    """The world. The wolf lives in memory alone: after a crash it is well again."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.wolf_hp = 3

    async def attack(self, me: Session[Player], op: Op) -> Receipt[int]:
        """Hit the wolf; the blow that fells it is worth 10 gold."""
        self.wolf_hp -= 1
        loot = 0 if self.wolf_hp else 10
        self.wolf_hp = self.wolf_hp or 3

        def hit(player: Player) -> int:
            player.blows += 1
            player.gold += loot
            return player.gold

        return await self.keeper.commit(hit, me, ops=(op,))

    async def pay(self, me: Session[Player], op: Op, name: str, gold: int) -> Receipt[int]:
        """Give gold to another player: both records change, or none does."""
        other = self.keeper.session(Player, name)
        if other is None or other is me or gold <= 0:
            raise ValueError("pay NAME a positive sum, where NAME is another player in the arena")

        def transfer(payer: Player, payee: Player) -> int:
            payer.gold -= gold  # below zero the commit is refused: ge=0
            payee.gold += gold
            return payer.gold

        return await self.keeper.commit(transfer, me, other, ops=(op, None))

    async def hear(self, me: Session[Player], words: list[str]) -> str:
        """Answer one line of a player. The rules are asked only about an operation that is new."""
        match words:
            case ["move", x] if 0 <= float(x) <= 100:  # a number of a client may be huge, or none at all
                me.record.x = float(x)  # a plain assignment marks itself
                return f"you are at {me.record.x}"
            case [number, "attack"]:
                op = Op(int(number), b"attack")
                told = await answer(me, op, lambda: self.attack(me, op))
            case [number, "pay", name, gold]:
                op = Op(int(number), f"pay {name} {gold}".encode())
                told = await answer(me, op, lambda: self.pay(me, op, name, int(gold)))
            case _:
                raise ValueError("move X up to 100, NUMBER attack, NUMBER pay NAME GOLD")
        return f"ok {op.id}: {told.result} gold" if isinstance(told, Ack) else f"no {op.id}: {told.error}"

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it breaks or the player logs in elsewhere."""
        me: Session[Player] | None = None
        connection = 0
        try:
            while line := await reader.readline():
                try:
                    words = line.decode().split()
                    if me is None:
                        if len(words) != 2 or words[0] != "login":
                            raise ValueError("first of all: login NAME")
                        me = await self.keeper.login(Player, words[1], create=Player, take_over=True)
                        connection = me.connection
                        said = f"hello: {me.record.gold} gold, at {me.record.x}, last operation {me.last_op}"
                    elif me.connection != connection or me.ended:
                        break
                    else:
                        said = await self.hear(me, words)
                except (RealmkeepError, ValueError) as error:
                    said = f"no: {error}"
                writer.write(f"{said}\n".encode())
                await writer.drain()
        except ValueError:  # of `readline`: more than 64 KiB without an end
            writer.write(b"no: the line is too long\n")
        except (OSError, asyncio.CancelledError):
            pass  # the line broke: the player has 30 s of grace to come back to the same session; or the server ends
        finally:
            if me is not None:
                me.disconnect(connection)
            writer.close()


async def main(store: str = "embedded:///arena-data", port: str = "7788") -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code says whether everything was saved."""
    keeper = await Keeper.open(store, config=KeeperConfig(name="arena"))
    await keeper.recover(Player)  # players of a run of this server that crashed
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = await asyncio.start_server(Arena(keeper).play, "127.0.0.1", int(port))
    print(f"the arena listens on port {server.sockets[0].getsockname()[1]}", flush=True)
    await stopping.wait()
    server.close()
    report = await keeper.close()
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
