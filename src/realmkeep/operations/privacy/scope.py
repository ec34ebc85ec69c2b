"""All that a store has of one person: an account, its characters, and every key beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.errors import InvalidKey, NoSuchAccount
from realmkeep.keeping.live.envelope import sent_by
from realmkeep.keeping.live.record_keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep import Record
    from realmkeep.accounts.account import Account
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.storage import Storage


@dataclass(frozen=True)
class Person:
    """One person.

    Attributes:
        account: The account; None if there is none.
        players: The keys of its players: those of the account, or the one that was named.
    """

    account: Account | None
    players: tuple[RecordKeys, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of its players."""
        return frozenset(each.id for each in self.players)

    @property
    def record_keys(self) -> tuple[str, ...]:
        """The keys of its records."""
        accounts = () if self.account is None else (keys.account(self.account.username),)
        return (*(each.record for each in self.players), *accounts)


@dataclass
class Traces:
    """The keys of a store that concern a person.

    Attributes:
        beside: Keys beside the person's players: inboxes, kept letters and the like.
        copies: Copies of unusable bytes.
        letters: The inboxes of others, with the number of letters there that the person sent.
    """

    beside: list[str] = field(default_factory=list[str])
    copies: list[str] = field(default_factory=list[str])
    letters: dict[str, int] = field(default_factory=dict[str, int])


async def find_person(acts: Acts, cls: type[Record], name: str) -> Person:
    """The person with this account, or with a player of this id.

    Raises:
        ActRefused: There is neither.
        Quarantined: The account cannot be read.
        StorageError: The store cannot be reached.
    """
    account = await _account(acts, name)
    if account is None:
        found = await acts.player_id(name)
        view = await acts.look(found)
        account = await _account(acts, view.account) if view.account else None
        ids: Sequence[int | str] = [found]
    else:
        ids = account.character_ids
    if account is not None:
        ids = list(dict.fromkeys([*ids, *account.character_ids]))
    return Person(account, tuple(keys_of(cls, each) for each in ids))


async def _account(acts: Acts, name: str) -> Account | None:
    try:
        return await acts.accounts.account(name)
    except NoSuchAccount:
        return None


async def find_traces(storage: Storage, person: Person) -> Traces:
    """Look at every key of the store.

    Raises:
        StorageError: The store cannot be reached.
    """
    traces, senders = Traces(), {each.record for each in person.players}
    owned = {(each.kind, each.id) for each in person.players}
    if person.account is not None:
        owned.add(("account", person.account.username))
    async for key in storage.keys("*"):
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            continue
        is_own = (parsed.kind, parsed.id) in owned
        if is_own and parsed.role == "corrupt":
            traces.copies.append(key)
        elif is_own and parsed.role in keys.COMPANIONS:
            traces.beside.append(key)
        elif parsed.role in {"inbox", "kept"}:
            sent = sum(sent_by(stored) in senders for stored in await storage.load_list(key))
            if sent:
                traces.letters[key] = sent
    return traces
