"""Which ids are in use, and a counter that does not fit them: for `realmkeep store ids`, while no server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import AlreadyOwned, InvalidKey, StorageUnavailable, WrongType
from realmkeep.keeping.ownership.id_counter import ID_MAX, count_in
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.storage import Committed, Delete, Effect, Guard, Put, Transaction

if TYPE_CHECKING:
    from realmkeep.storage import Storage

# Serials come from the same counter and stand inside records, where no key shows them. They were counted in the same
# time as the ids of records, so they are not far beyond these; and there are 4,096 such steps below `ID_MAX`.
SERIALS_GAP: Final = 2**40


class IdSurvey(msgspec.Struct, frozen=True):
    """The counter of ids as it is, and as it should be.

    Attributes:
        counter: As it is stored; None if it is absent, or no value at all.
        verdict: `fine`; `behind`, if ids in use would be given out again; or `unusable`.
        highest: The highest id of a record that counting can have given out; 0 if there is none.
        beyond: How many ids of records are higher than any that is given out.
        set_to: Where the counter belongs.
        servers: The servers with a live lease.
    """

    counter: bytes | None
    verdict: str
    highest: int
    beyond: int
    set_to: int
    servers: tuple[str, ...]


async def survey_ids(storage: Storage) -> IdSurvey:
    """Look at the counter, and at every key of the store.

    Raises:
        StorageError: The store cannot be reached.
    """
    try:
        counter, number = (found := await storage.load(SERVER_ID_COUNTER)), count_in(found)
    except WrongType:
        counter, number = None, None
    in_use: list[int] = []
    servers: list[str] = []
    async for key in storage.keys():
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            continue  # another program's key
        if parsed.role == "lease":
            servers.append(parsed.id)
        elif parsed.role == "record" and parsed.id.isdecimal() and parsed.id == str(id_ := int(parsed.id)):
            in_use.append(id_)
    given = sorted(id_ for id_ in in_use if id_ <= ID_MAX)
    highest = given[-1] if given else 0
    if number is None or number >= ID_MAX:
        verdict, set_to = "unusable", _place_with_room(given)
    elif number < highest:
        verdict, set_to = "behind", highest
    else:
        verdict, set_to = "fine", number
    return IdSurvey(counter, verdict, highest, len(in_use) - len(given), set_to, tuple(sorted(servers)))


def _place_with_room(given: list[int]) -> int:
    """Behind the highest id that has room for serials and for more ids before the next one."""
    above = ID_MAX
    for id_ in (*reversed(given), 0):
        if above - id_ > 2 * SERIALS_GAP:
            return id_ + SERIALS_GAP
        above = id_
    return 0  # the ids of a realm do not fill all of this


async def mend_ids(storage: Storage, survey: IdSurvey) -> None:
    """Set the counter to where it belongs, unless it has moved since the survey.

    Raises:
        AlreadyOwned: A server is alive that may have ids which stand nowhere yet, and the counter would go back.
        StorageUnavailable: The counter has moved meanwhile.
        StorageError: The store cannot be reached.
    """
    if survey.verdict == "fine":
        return
    if survey.servers and survey.verdict != "behind":
        raise AlreadyOwned(
            f"these servers are alive: {', '.join(survey.servers)}",
            server=survey.servers[0],
            wait_s=0.0,
            hint="stop them first; the lease of one that crashed is gone within half a minute",
        )
    effects: list[Effect] = [Put(SERVER_ID_COUNTER, b"%d" % survey.set_to)]
    guards = [Guard(SERVER_ID_COUNTER, survey.counter)]
    if survey.counter is None and survey.verdict == "unusable":  # a list: no guard can name it
        guards, effects = [], [Delete(SERVER_ID_COUNTER), *effects]
    (outcome,) = await storage.write([Transaction(guards, effects)])
    if not isinstance(outcome, Committed):
        raise StorageUnavailable(f"the counter of ids was not set: {outcome}", hint="run it again")
