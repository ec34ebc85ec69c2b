"""Letters that a loss of the store brought back: those that were opened are dropped again, and no others."""

from keeping.game import Player, enter, inside, opens_letters
from realmkeep.keeping import Hooks
from realmkeep.keeping.recovery.inbox_heads import InboxHeads
from realmkeep.storage import Append, DropFirst
from realmkeep.testing.lab import Lab


async def test_letters_that_were_opened_are_dropped_again_and_no_others() -> None:
    async with Lab(loss_window_s=1.0, hooks=opens_letters(Hooks())) as lab:
        await lab.advance(40)
        ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 2)

        def sends(_: Player) -> None:
            for gold in (1, 2):
                lab.keeper.tx.deliver(Player, 2, {"gold": gold})

        await lab.keeper.commit(sends, ada)
        await lab.finish(bob.open_letters())
        assert bob.record.gold == 103
        store_loss = inside(lab.keeper).store_loss
        sent = [each for entry in store_loss.tail for each in entry.effects if isinstance(each, Append)]
        opening = [entry for entry in store_loss.tail if any(isinstance(each, DropFirst) for each in entry.effects)][-1]
        lab.store.perform(sent[-1])
        lab.store.perform(Append("rover:2:inbox", b'["of another",{"gold":3}]'))
        heads = InboxHeads(lab.line(), store_loss.ring_of)
        await heads.read(opening.effects)
        drop = DropFirst("rover:2:inbox", 2)
        assert heads.dropped(drop, (), "rover:2") == DropFirst("rover:2:inbox", 1)
        assert heads.dropped(drop, (), "rover:2") is None
        not_read = DropFirst("rover:1:inbox", 1)
        assert heads.dropped(not_read, (), "rover:1") == not_read, "not read: not lost"
