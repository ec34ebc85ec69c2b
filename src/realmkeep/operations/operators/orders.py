"""Orders: acts of operators as they lie in a control list, and the outcome that each leaves under its id."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from realmkeep import keys
from realmkeep.errors import ActRefused, OpReused, StorageUnavailable
from realmkeep.keys import SERVER_AUDIT_HEAD
from realmkeep.operations.operators.audit import REASON_CHARS_MAX, AuditEntry, FoundHead
from realmkeep.storage import Committed, Failed, Guard, Put, Transaction, Unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock
    from realmkeep.keeping.unowned_records import Also
    from realmkeep.storage import Effect, Need, Storage

OUTCOME_KEEP_S: Final = 7 * 24 * 3600.0  # an act that is asked for again later is a new one
TURNS_MAX: Final = 20  # each lost to another act in the realm at the same moment
ORDER_LASTS_S: Final = 600.0  # an order that lay longer in a control list is not run any more


class Edit(msgspec.Struct, frozen=True, kw_only=True, tag="edit"):
    """Change one value of a record.

    Attributes:
        field: See `editing.edited`.
        value: The new value, of JSON's types.
        expected: The value that the operator saw; the act is refused if it is another by now. None: any.
    """

    field: str
    value: Any
    expected: tuple[Any] | None = None


class Gift(msgspec.Struct, frozen=True, kw_only=True, tag="gift"):
    """Give a player an amount of a thing, as the game defines it."""

    thing: str
    amount: int


class Move(msgspec.Struct, frozen=True, kw_only=True, tag="move"):
    """Put a player somewhere, as the game defines it."""

    place: str


class Kick(msgspec.Struct, frozen=True, kw_only=True, tag="kick"):
    """Disconnect a live player."""


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    """Disconnect a live player, save its record a last time, and give the record up."""


class Rename(msgspec.Struct, frozen=True, kw_only=True, tag="rename"):
    """Give a player another name, and its account the same one.

    Attributes:
        name: As typed.
        account: The present name of the account; empty if the player has none.
    """

    name: str
    account: str


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget"):
    """Take erased players out of the fields of another record.

    Attributes:
        fields: The fields that hold ids of players.
        ids: The ids.
    """

    fields: tuple[str, ...]
    ids: tuple[str, ...]


Change: TypeAlias = Edit | Gift | Move | Kick | Release | Rename | Forget


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One act of an operator.

    Attributes:
        act_id: The same id happens once.
        act: A key of `GRANTS`.
        operator: Its name.
        role: Its role when it was granted.
        target: The key of the record.
        reason: The operator's words.
        change: The change of a record; None for an act on an account or an operator.
        details: What such an act does; part of its audit entry.
        expires_us: From then on a server does not begin it, in microseconds since the Unix epoch.
    """

    act_id: str
    act: str
    operator: str
    role: str
    target: str
    reason: str
    change: Change | None = None
    details: dict[str, Any] = {}
    expires_us: int = 0

    @property
    def digest(self) -> str:
        """Identifies the content, so that an id is not used for two acts; the value that was expected is no part of it."""
        change = msgspec.structs.replace(self.change, expected=None) if isinstance(self.change, Edit) else self.change
        told = [self.act, self.operator, self.target, change, self.details]
        return hashlib.blake2b(msgspec.json.encode(told, order="deterministic"), digest_size=16).hexdigest()

    @property
    def mark(self) -> str:
        """The key of its outcome."""
        return keys.act(hashlib.blake2b(self.act_id.encode(), digest_size=16).hexdigest())


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an act.

    Attributes:
        act_id: The id of the act.
        digest: That of the order.
        refused: The sentence of the refusal; empty if it was done.
        entry: The sequence of its audit entry; 0 if it was refused.
        details: The change.
        server: The server that ran it.
    """

    act_id: str
    digest: str
    refused: str = ""
    hint: str = ""
    entry: int = 0
    details: dict[str, Any] = {}
    server: str = ""

    def require(self) -> Outcome:
        """This outcome.

        Raises:
            ActRefused: It was refused.
        """
        if self.refused:
            raise ActRefused(self.refused, hint=self.hint)
        return self


class OrderBook:
    """Reads and writes the outcomes of orders.

    Args:
        storage: The store.
        clock: The clock.
        server: The name of this server, for the audit entries.
    """

    def __init__(self, storage: Storage, clock: Clock, server: str) -> None:
        self._storage = storage
        self._clock = clock
        self._server = server

    async def look(self, order: Order) -> Outcome | FoundHead:
        """The outcome of an order that has one; otherwise the end of the audit trail, to which its entry is appended.

        Raises:
            OpReused: The id is that of another act.
            Corrupt: The audit trail's head cannot be read.
            StorageError: The store cannot be reached.
        """
        mark, head = await self._storage.load_many([order.mark, SERVER_AUDIT_HEAD])
        if mark is None:
            return FoundHead(head)
        outcome = msgspec.json.decode(mark, type=Outcome)
        if outcome.digest != order.digest:
            raise OpReused(f"the act {order.act_id!r} was another one", hint="use a new id for this one")
        return outcome

    def done(self, order: Order, details: dict[str, Any], head: FoundHead) -> tuple[Outcome, list[Also]]:
        """The outcome of an act that is being done, and the guards and effects for the transaction of its change."""
        entry = AuditEntry(
            sequence=0,
            at_us=self._clock.wall_us(),
            operator=order.operator,
            role=order.role,
            act=order.act,
            target=order.target,
            reason=order.reason,
            details=details,
            act_id=order.act_id,
            server=self._server,
            previous="",
        )
        outcome = Outcome(
            act_id=order.act_id,
            digest=order.digest,
            entry=head.head.sequence + 1,
            details=details,
            server=self._server,
        )
        return outcome, [*self._marking(order, outcome), *head.append(entry)]

    async def write(
        self, order: Order, details: dict[str, Any], effects: Sequence[Effect], needs: Sequence[Need] = ()
    ) -> Outcome:
        """Apply effects with the outcome and the audit entry of an act that belongs to no live record; once for its id.

        Args:
            order: The act.
            details: The change, for the entry.
            effects: The change.
            needs: Conditions of it; one that does not hold looks like a faster act.

        Raises:
            OpReused: The id is that of another act.
            Corrupt: The audit trail's head cannot be read.
            StorageError: The store cannot be reached, or others were faster again and again.
        """
        for _ in range(TURNS_MAX):
            found = await self.look(order)
            if isinstance(found, Outcome):
                return found.require()
            outcome, also = self.done(order, details, found)
            guards = [each for each in also if isinstance(each, Guard)]
            more = [each for each in also if not isinstance(each, Guard)]
            (written,) = await self._storage.write([Transaction(guards, [*effects, *more], needs)])
            if isinstance(written, (Failed, Unknown)):
                raise written.error
            if isinstance(written, Committed):
                if self._storage.capability.loss_window_s != 0:  # a command ends, and remembers nothing
                    await self._storage.flush()
                return outcome
        raise StorageUnavailable(f"other acts were faster {TURNS_MAX} times in a row", hint="ask again")

    async def refuse(self, order: Order, error: ActRefused) -> Outcome:
        """Keep the refusal as the outcome of an order; returns the one that counts, if another server was faster.

        Raises:
            StorageError: The store cannot be reached.
        """
        outcome = Outcome(
            act_id=order.act_id, digest=order.digest, refused=error.message, hint=error.hint, server=self._server
        )
        guard, put = self._marking(order, outcome)
        (written,) = await self._storage.write([Transaction([guard], [put])])
        if isinstance(written, (Failed, Unknown)):
            raise written.error
        found = outcome if isinstance(written, Committed) else await self.look(order)
        return found if isinstance(found, Outcome) else outcome

    def _marking(self, order: Order, outcome: Outcome) -> tuple[Guard, Put]:
        return Guard(order.mark, None), Put(order.mark, msgspec.json.encode(outcome), expire_s=OUTCOME_KEEP_S)


def checked_reason(reason: str) -> str:
    """The reason of an act.

    Raises:
        ActRefused: It is empty, too long, or no printable text.
    """
    text = reason.strip()
    if not text or len(text) > REASON_CHARS_MAX or not text.isprintable():
        raise ActRefused("an act needs a reason", hint=f"1 to {REASON_CHARS_MAX} printable characters")
    return text
