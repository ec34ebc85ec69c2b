"""Letters without a record as sender, from a tool or an operator: durable on return, and sent once over all retries."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import Misuse, OpReused, OutcomeUnknown, RealmkeepError, StorageError
from realmkeep.keeping.live.envelope import sent_by
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.live.sealing import seal
from realmkeep.keeping.writing.receivers import ReceiverConditions, inbox_full, receiver_refusal
from realmkeep.storage import Append, Committed, Failed, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.live.session import Session
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Record

SENT_KEEP_S: Final = 7 * 24 * 3600.0  # an operation that is repeated later is a new one
OP_ID_CHARS_MAX: Final = 200
AGAIN_S: Final = 0.2  # between two attempts, after the store did not answer


class LetterSender:
    """`keeper.letters`: sends letters without a record as sender, and checks the room in inboxes.

    A commit sends its letters by `keeper.tx.deliver`.

    Args:
        open_engine: Returns the keeper's engine, or raises `ShuttingDown`.
    """

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open_engine = open_engine

    async def check_room(self, sender: Session[Any], cls: type[Record], id: int | str) -> None:  # noqa: A002 - as below
        """Check that an inbox has room for a letter of this sender, so that one player alone cannot fill it.

        Call it before a commit that sends a letter at a player's wish. The store checks the limit of the whole inbox again in
        the commit, so that limit always holds. The limit per sender does not count letters of commits that are under way.

        Args:
            sender: The sender's session.
            cls: The class of the receiver.
            id: Its id.

        Raises:
            InboxFull: `keeper.inbox_letters_max` letters wait there, or `keeper.inbox_letters_per_sender_max` of this sender.
            InvalidKey: The id is malformed.
            StorageError: The store cannot be reached.
            ShuttingDown: The keeper is closing.
        """
        await _check_room(self._open_engine(), sender.keys.record, keys_of(cls, id))

    async def send(
        self,
        cls: type[Record],
        id: int | str,  # noqa: A002 - the field's own name
        letter: object,
        *,
        op_id: str | None = None,
        expires_s: float | None = None,
    ) -> None:
        """Send a letter from a tool or an operator, without a sender's commit; it is durable on return, also on `everysec`.

        Args:
            cls: The class of the receiver, which may be live on any server; it must exist.
            id: Its id.
            letter: As for `keeper.tx.deliver`; it has no sender to return to.
            op_id: Names the operation, such as `maintenance 2031-05-04, player 7`. Repeated calls with it, from any server, send
                one letter within a week. Without it the call makes one; an `OutcomeUnknown` names it.
            expires_s: As for `keeper.tx.deliver`.

        Raises:
            InvalidKey, Misuse, DefinitionError: As `keeper.tx.deliver`; or `op_id` is no name.
            NoSuchReceiver, InboxFull: It was not sent.
            OpReused: `op_id` has sent another letter.
            OutcomeUnknown: The store has not answered within `keeper.pending_after_s`; repeat the call with the `op_id`.
            StorageError: It was not sent.
            ShuttingDown: The keeper is closing.
        """
        await _send(self._open_engine(), keys_of(cls, id), letter, op_id=op_id, expires_s=expires_s)


async def _check_room(engine: Engine, sender: str, receiver: RecordKeys) -> None:
    letters_max, of_sender_max = engine.config.inbox_letters_max, engine.config.inbox_letters_per_sender_max
    waiting = await engine.storage.load_list(receiver.inbox, count=letters_max)
    if len(waiting) >= letters_max or sum(sent_by(stored) == sender for stored in waiting) >= of_sender_max:
        raise inbox_full(receiver.record)


async def _send(
    engine: Engine, receiver: RecordKeys, letter: object, *, op_id: str | None, expires_s: float | None
) -> None:
    """As `LetterSender.send`.

    The transaction writes a mark of the operation with the letter, and a guard requires that the mark is absent. So one of all
    attempts happens, including those that arrive late, and the mark shows the outcome of an attempt without an answer.

    Raises:
        RealmkeepError: As `LetterSender.send`.
    """
    op_id = secrets.token_hex(8) if op_id is None else _checked(op_id)
    sealed = seal(letter, sender="", now_us=engine.clock.wall_us(), expires_s=expires_s)
    mark, request = keys.sent(_digest(op_id.encode())), _request(receiver, letter)
    receivers = ReceiverConditions(engine.config.inbox_letters_max)
    receivers.add_letter(receiver)
    effects = [Put(mark, request, expire_s=SENT_KEEP_S), Append(receiver.inbox, sealed)]
    attempt = _SendAttempt(engine, Transaction([Guard(mark, None)], effects, tuple(receivers.needs())), op_id, request)
    until_s = engine.clock.monotonic_s() + engine.config.pending_after_s
    while not await attempt.happened():
        if engine.clock.monotonic_s() >= until_s:
            raise attempt.gave_up()
        await engine.clock.sleep(AGAIN_S)
    engine.inboxes.delivered([receiver])


class _SendAttempt:
    """The attempts to send one letter, and the outcome as far as it is known."""

    def __init__(self, engine: Engine, transaction: Transaction, op_id: str, request: bytes) -> None:
        self._engine = engine
        self._transaction = transaction
        self._op_id = op_id
        self._request = request
        self._maybe = False
        self._error: StorageError | None = None

    async def happened(self) -> bool:
        """Send it once; True if it is in the inbox and safe. False if the store did not confirm that: try again.

        Raises:
            NoSuchReceiver, InboxFull, OpReused: It did not happen.
            OutcomeUnknown: It did not happen now; an earlier attempt may still arrive.
            StorageError: The store refuses it for good.
        """
        storage, barrier = self._engine.storage, self._engine.barrier
        try:
            await barrier.wait_until_passed()
            run = barrier.passed_run
            (outcome,) = await storage.write([self._transaction])
            if isinstance(outcome, Refused):
                self._check_refusal(outcome)
            elif not isinstance(outcome, Committed):
                self._maybe |= not isinstance(outcome, Failed)
                raise outcome.error
            self._maybe = True  # until it is safe, a crash of the store may lose it
            return await self._engine.safe_point.reached(run)
        except StorageError as error:
            if not error.retryable:
                raise
            self._error = error
            return False

    def _check_refusal(self, outcome: Refused) -> None:
        refusal = receiver_refusal(outcome)
        if refusal is None and outcome.found != self._request:
            refusal = OpReused(
                f"the operation {self._op_id!r} sent another letter", hint="use a new op_id for this one"
            )
        if refusal is not None:
            raise self._unknown(refusal) if self._maybe else refusal

    def gave_up(self) -> RealmkeepError:
        """The error for the caller."""
        error = self._error or OutcomeUnknown("the store restarted at each attempt", hint="look at the store")
        return self._unknown(error) if self._maybe else error

    def _unknown(self, why: RealmkeepError) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"the letter {self._op_id!r} may have been sent: {why.message}",
            hint=f"send it again with op_id={self._op_id!r}: it arrives once, within a week",
        )


def _checked(op_id: Any) -> str:
    if not isinstance(op_id, str) or not 0 < len(op_id) <= OP_ID_CHARS_MAX or not op_id.isprintable():
        raise Misuse(
            f"op_id {op_id!r:.80} does not name an operation", hint=f"pass 1 to {OP_ID_CHARS_MAX} printable characters"
        )
    return op_id


def _request(receiver: RecordKeys, letter: object) -> bytes:
    """The digest that identifies a letter under its id; the order of a dictionary's keys does not count."""
    content = msgspec.json.encode([receiver.record, type(letter).__qualname__, letter], order="deterministic")
    return _digest(content).encode()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
