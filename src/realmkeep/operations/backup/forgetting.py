"""After a restore: records of others forget the players that were erased since the backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.errors import InvalidKey, RecordError
from realmkeep.operations.privacy.references import forget_players
from realmkeep.records import encode, load
from realmkeep.records.codecs import codec_of
from realmkeep.storage import Put, load_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep import Record
    from realmkeep.operations.backup.erasures import Erasures
    from realmkeep.operations.backup.game import Game
    from realmkeep.storage import Effect, Storage


async def forgetting_effects(storage: Storage, found: Iterable[str], game: Game, erasures: Erasures) -> list[Effect]:
    """The changes by which records forget erased players.

    A record that cannot be used stays as it is: a login refuses it in any case.

    Args:
        storage: Connected, and without other users.
        found: Every key of the store.
        game: The game's classes, and their fields that refer to players.
        erasures: The erasures since the backup.

    Raises:
        StorageError: The store cannot be reached.
    """
    holdings = game.holdings
    effects: list[Effect] = []
    if not erasures.any or holdings.players is None:
        return effects
    kind = holdings.players.__realmkeep__.kind
    for key in found:
        cls = _class_at(key, game)
        if cls is None:
            continue
        (stored,) = await load_each(storage, [key])
        if stored is None:
            continue
        try:
            record = load(stored, cls, limits=game.limits, accept_unchecked=game.accept_unchecked).require()
        except RecordError:
            continue
        if forget_players(record, holdings.refers[cls], lambda id_: erasures.has_player(kind, id_)):
            effects.append(Put(key, encode(record, codec_of(stored), limits=game.limits)))
    return effects


def _class_at(key: str, game: Game) -> type[Record] | None:
    """The class of the record at a key, if it has fields that refer to players."""
    try:
        parsed = keys.parse(key)
    except InvalidKey:
        return None
    if parsed.role != "record":
        return None
    named = (cls for cls in game.holdings.refers if cls.__realmkeep__.kind == parsed.kind)
    return next((cls for cls in named if cls.__realmkeep__.suffix == parsed.suffix), None)
