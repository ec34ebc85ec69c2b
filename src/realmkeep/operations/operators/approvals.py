"""The second person: once a realm has two admins, an erasure or a large gift of one needs the approval of another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import ActRefused, ApprovalNeeded, OpReused, StorageUnavailable
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome
from realmkeep.operations.operators.roles import Role, check_grant
from realmkeep.storage import Committed, Failed, Guard, Put, Refused, Transaction, Unknown

if TYPE_CHECKING:
    from realmkeep.keeping.lifecycle.engine import Engine

REQUEST_LASTS_S: Final = 24 * 3600.0
TURNS_MAX: Final = 20


class Request(msgspec.Struct, frozen=True, kw_only=True, tag="approval"):
    """An act that waits for the approval of a second admin, for a day.

    Attributes:
        act_id: The id of the act.
        digest: That of its order.
        operator: The operator that asked for it.
        act: The act.
        target: The key of the record.
        told: The act in words.
        reason: The operator's words.
        at_us: When it was asked for, in microseconds since the Unix epoch.
        approved_by: The admin that has approved it; empty before.
    """

    act_id: str
    digest: str
    operator: str
    act: str
    target: str
    told: str
    reason: str
    at_us: int
    approved_by: str = ""


class Approvals:
    """Asks for approvals, and gives them.

    Args:
        engine: The engine of any keeper of the realm.
        server: The name of this server, for the audit entries.
    """

    def __init__(self, engine: Engine, server: str) -> None:
        self._storage = engine.storage
        self._clock = engine.clock
        self._operators = UnownedRecords(Operator, engine.storage, records=engine.records, clock=engine.clock)
        self._book = OrderBook(engine.storage, engine.clock, server)

    async def require(self, order: Order, told: str) -> None:
        """Return if an act may happen: it was approved, it has happened already, or the realm has one admin alone.

        Args:
            order: The act.
            told: The act in words.

        Raises:
            ApprovalNeeded: A second admin has to approve it; the request stands for a day.
            OpReused: The id is that of another act.
            Quarantined: An operator cannot be read.
            StorageError: The store cannot be reached.
        """
        if isinstance(await self._book.look(order), Outcome) or await self._admins() < 2:
            return
        key = _key(order.act_id)
        stored = await self._storage.load(key)
        if stored is None:
            request = Request(
                act_id=order.act_id, digest=order.digest, operator=order.operator, act=order.act, target=order.target,
                told=told, reason=order.reason, at_us=self._clock.wall_us(),
            )  # fmt: skip
            put = Put(key, msgspec.json.encode(request), expire_s=REQUEST_LASTS_S)
            (outcome,) = await self._storage.write([Transaction([Guard(key, None)], [put])])
            if isinstance(outcome, (Failed, Unknown)):
                raise outcome.error
        else:
            request = msgspec.json.decode(stored, type=Request)
            if request.digest != order.digest:
                raise OpReused(f"the act {order.act_id!r} was another one", hint="use a new id for this one")
            if request.approved_by:
                return
        raise ApprovalNeeded(
            f"{told} needs the approval of a second admin",
            hint=f"another admin: realmkeep operator approve {order.act_id}; then ask again with --id {order.act_id}",
        )

    async def pending(self, by: Operator) -> list[Request]:
        """The requests that nobody has approved yet, oldest first.

        Raises:
            NotGranted: The role is too low.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "approve")
        found = [
            request
            async for key in self._storage.keys("server:act:*")
            if (request := await self.request_at(key)) is not None
        ]
        return sorted(found, key=lambda request: request.at_us)

    async def request_at(self, key: str) -> Request | None:
        """The request at a key of `server:act:*`; None if none waits there.

        Raises:
            StorageError: The store cannot be reached.
        """
        request = _decoded(await self._storage.load(key))
        return None if request is None or request.approved_by else request

    async def approve(self, by: Operator, act_id: str, *, reason: str, approval_id: str) -> Outcome:
        """Approve the act of another admin, which then asks for it again.

        Args:
            by: An admin, and not the one that asked.
            act_id: The id of the act.
            reason: For the audit trail.
            approval_id: The id of the approval itself.

        Raises:
            NotGranted: The role is too low.
            ActRefused: There is no such request, or the operator itself has asked for it.
            OpReused: The id of the approval is that of another act.
            StorageError: The store cannot be reached.
        """
        check_grant(by, "approve")
        for _ in range(TURNS_MAX):
            key = _key(act_id)
            stored = await self._storage.load(key)
            request = _decoded(stored)
            if request is None:
                raise ActRefused(
                    f"no act {act_id!r:.80} waits for an approval", hint="realmkeep operator requests lists them"
                )
            if request.operator == by.name:
                raise ActRefused(f"{by.name} has asked for it: another admin approves", hint="ask another admin")
            order = Order(
                act_id=approval_id, act="approve", operator=by.name, role=by.role, target=request.target,
                reason=reason, details={"act_id": act_id, "act": request.act, "operator": request.operator},
            )  # fmt: skip
            found = await self._book.look(order)
            if isinstance(found, Outcome):
                return found.require()
            outcome, beside = self._book.done(order, order.details, found)
            approved = msgspec.structs.replace(request, approved_by=by.name)
            guards = [Guard(key, stored), *(each for each in beside if isinstance(each, Guard))]
            effects = [each for each in beside if not isinstance(each, Guard)]
            put = Put(key, msgspec.json.encode(approved), expire_s=REQUEST_LASTS_S)
            (written,) = await self._storage.write([Transaction(guards, [put, *effects])])
            match written:
                case Committed():
                    await self._storage.flush()
                    return outcome
                case Refused():
                    continue
                case Failed() | Unknown():
                    raise written.error
        raise StorageUnavailable(f"other acts were faster {TURNS_MAX} times in a row", hint="ask again")

    async def _admins(self) -> int:
        count = 0
        async for key in self._storage.keys("operator:*"):
            found = await self._operators.get(key.partition(":")[2])
            count += found is not None and not found.record.disabled and Role.of(found.record.role) is Role.ADMIN
        return count


def _key(act_id: str) -> str:
    return keys.act(hashlib.blake2b(f"approval {act_id}".encode(), digest_size=16).hexdigest())


def _decoded(stored: bytes | None) -> Request | None:
    try:
        return None if stored is None else msgspec.json.decode(stored, type=Request)
    except (msgspec.MsgspecError, ValueError):  # the outcome of an act
        return None
