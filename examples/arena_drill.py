"""The crash drill on the records of the arena: `realmkeep drill --game examples.arena_drill:DRIVER`, beside `examples/`."""

from examples.arena import Player

from realmkeep.testing.drill import GameRefused


class ArenaDriver:
    """Gold is what the players trade, blows are what they earn."""

    players = Player

    def create(self, number: int) -> Player:
        """Make a player; the first one is rich."""
        return Player(gold=20 if number else 200)

    def trade(self, giver: Player, taker: Player, amount: int) -> None:
        """Pay."""
        if giver.gold < amount:
            raise GameRefused
        giver.gold -= amount
        taker.gold += amount

    def earn(self, player: Player, amount: int) -> None:
        """Strike some blows, and move."""
        player.blows += amount
        player.x += 1.0

    def progress(self, player: Player) -> int:
        """Count the blows."""
        return player.blows

    def worth(self, player: Player) -> dict[str, int]:
        """Count the gold."""
        return {"gold": player.gold}


DRIVER = ArenaDriver()
